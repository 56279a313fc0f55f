"""All platforms resolved side by side, with what each wants for itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from flops_protocol.errors import FlopsError

from flops_builder.dependencies.declaration import Requirement
from flops_builder.dependencies.names import TORCH
from flops_builder.dependencies.rules import Rule
from flops_builder.failing import tasks
from flops_builder.resolve.lock import Lock
from flops_builder.resolve.resolver import Resolver
from flops_builder.resolve.torch import cpu_constraints, cuda_packages, same_release
from flops_builder.resolve.uv import Target, UnresolvableError

LOWEST = ("--resolution=lowest-direct",)
"""The lowest version that is allowed, instead of the highest, of what is asked for; of the rest, the highest."""


@dataclass(frozen=True)
class Request:
    """What is to be resolved."""

    requirements: tuple[Requirement, ...]
    constraints: tuple[Requirement, ...]
    targets: tuple[Target, ...]
    off: frozenset[Rule] = frozenset()
    """Repair rules that are switched off."""
    locked: bool = False
    """Whether they are a lock's, which is honoured as far as it can be."""
    gpus: bool = False
    """Whether the learners' nodes have GPUs."""
    imported: frozenset[str] = frozenset()
    """Names of the projects that the code imports itself, normalised."""


@dataclass(frozen=True)
class Attempt:
    """What came of resolving: a lock or uv's explanation for each target."""

    locks: dict[Target, Lock]
    failures: dict[Target, str]


@dataclass(frozen=True)
class JointResolver:
    """Asks for locks for all targets of a request."""

    resolver: Resolver
    request: Request
    _silent: set[str] = field(default_factory=set)
    """Indexes of CPU builds that have not answered: they are asked once."""

    async def attempt(
        self, requirements: Sequence[Requirement], limits: Sequence[str] = (), options: tuple[str, ...] = ()
    ) -> Attempt:
        """These requirements, for every target at once, within the request's constraints and these.

        :raises FlopsError: FLOPS-B025, FLOPS-B040
        """
        found: dict[Target, Lock | str] = {}

        async def one(target: Target) -> None:
            try:
                found[target] = await self._lock(requirements, target, limits, options)
            except UnresolvableError as error:
                found[target] = error.explanation

        async with tasks() as group:
            for target in self.request.targets:
                group.start_soon(one, target)
        ordered = [(target, found[target]) for target in self.request.targets]
        return Attempt(
            {target: lock for target, lock in ordered if isinstance(lock, Lock)},
            {target: explanation for target, explanation in ordered if isinstance(explanation, str)},
        )

    async def version(self, requirement: str, target: Target) -> str | None:
        """The highest version with a wheel that fits a requirement by itself; None when there is none.

        :raises FlopsError: FLOPS-B025, FLOPS-B040
        """
        try:
            lock = await self.resolver.lock([requirement], target, options=("--no-deps",))
        except UnresolvableError:
            return None
        return next(iter(lock.versions.values()), None)

    async def lowest(self, floors: Sequence[str], target: Target) -> dict[str, str]:
        """The lowest versions with a wheel that fit requirements, each by itself; empty when one of them has none.

        :raises FlopsError: FLOPS-B025, FLOPS-B040
        """
        try:
            lock = await self.resolver.lock(floors, target, options=("--no-deps", *LOWEST))
        except UnresolvableError:
            return {}
        return lock.versions

    async def _lock(
        self, requirements: Sequence[Requirement], target: Target, limits: Sequence[str], options: tuple[str, ...]
    ) -> Lock:
        texts = [each.text for each in requirements]
        limits = [*(each.text for each in self.request.constraints), *limits]
        if self.request.gpus or Rule.CPU_TORCH in self.request.off:
            return await self.resolver.lock(texts, target, constraints=limits, options=options)
        find_links = self.resolver.uv.index.find_links
        cpu = cpu_constraints(requirements, target, find_links)
        for other in self.request.targets:
            cpu = cpu or same_release(cpu_constraints(requirements, other, find_links))
        if cpu:
            try:
                return await self.resolver.lock(texts, target, constraints=[*limits, *cpu], options=options)
            except UnresolvableError as error:
                if not any(name in error.explanation for name in TORCH):
                    raise
                # another package wants another PyTorch: then what the index has
        lock = await self.resolver.lock(texts, target, constraints=limits, options=options)
        return await self._for_cpu(texts, target, limits, options) or lock if cuda_packages(lock) else lock

    async def _for_cpu(
        self, texts: Sequence[str], target: Target, limits: Sequence[str], options: tuple[str, ...]
    ) -> Lock | None:
        """The lock with PyTorch's builds for the CPU, where an index has them; None where none does or answers."""
        uv = self.resolver.uv
        if uv.index.cpu[0] in self._silent:
            return None
        resolver = replace(self.resolver, uv=replace(uv, index=uv.index.once()))
        try:
            lock = await resolver.lock(texts, target, constraints=limits, options=(*options, *uv.index.cpu))
        except UnresolvableError:
            return None
        except FlopsError:
            self._silent.add(uv.index.cpu[0])
            return None
        return None if cuda_packages(lock) else lock
