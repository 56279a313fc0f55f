"""Locks of conda environments: solved by rattler, with uv for what comes from PyPI on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import anyio
import rattler
from flops_protocol.errors import FlopsError

from flops_builder.conda.channels import Channels
from flops_builder.conda.explain import unsolvable
from flops_builder.conda.lock import CondaLock, CondaPackage
from flops_builder.conda.prefix import python_packages, unrun_scripts
from flops_builder.conda.solver import Solver, UnsolvableError
from flops_builder.conda.stubs import stub_requirements
from flops_builder.conda.wish import CondaWish
from flops_builder.conda.workshop import CondaWorkshop
from flops_builder.dependencies.declaration import Repair, Requirement
from flops_builder.dependencies.rules import Rule
from flops_builder.failing import tasks
from flops_builder.resolve.explain import mentioned, reason
from flops_builder.resolve.lock import Lock
from flops_builder.resolve.refusal import refuse_sources
from flops_builder.resolve.relax import Resolution
from flops_builder.resolve.resolver import Resolver
from flops_builder.resolve.uv import Target, UnresolvableError


@dataclass(frozen=True)
class CondaResolver:
    """Resolves what a conda file asks for."""

    workshop: CondaWorkshop
    wheels: Resolver
    gateway: rattler.Gateway
    seconds: float

    @property
    def channels(self) -> Channels:
        """Those of this machine."""
        return self.workshop.channels

    async def resolve(self, wish: CondaWish, targets: Sequence[Target]) -> Resolution:
        """The locks, by targets with the Python that conda brings, and all repairs that were made.

        :raises FlopsError: FLOPS-B022, FLOPS-B023, FLOPS-B025, FLOPS-B040, FLOPS-B050 to FLOPS-B052
        """
        refuse_sources(wish.pip)
        channels, refused = self.channels.for_file([*_named_by_specs(wish), *wish.channels])
        warnings = [f"the channel {name} is not configured here: it is not asked" for name in refused]
        solver = Solver(channels, self.gateway, self.seconds)
        solved, wish = await self._solve(solver, wish, targets)
        locks: dict[Target, Lock] = {}
        scripts: set[str] = set()
        added: list[Requirement] = []

        async def complete(target: Target, packages: tuple[CondaPackage, ...]) -> None:
            lock, unrun = await self._complete(wish, replace(target, python=python_minor(packages)), packages)
            locks[replace(target, python=lock.python)] = lock.lock
            scripts.update(unrun)
            self.workshop.locks[target.platform] = lock
            added.extend(each for each in wish.guest if each.name in lock.wheels.versions)

        async with tasks() as group:
            for target, packages in solved.items():
                group.start_soon(complete, target, packages)
        if scripts:
            warnings.append(f"scripts that packages want to have run are not run: {', '.join(sorted(scripts))}")
        in_order = {target: locks[target] for target in sorted(locks, key=str)}
        why = "the ML worker needs it, and conda does not bring it"
        needs = [Repair(Rule.GUEST_NEEDS, "", each.text, why) for each in wish.guest if each in added]
        return Resolution(in_order, (*wish.repairs, *needs), tuple(warnings))

    def known(self, locks: Mapping[Target, Lock]) -> Resolution | None:
        """The locks of an earlier build as they are; None when they name channels that are not configured any more."""
        found: dict[Target, Lock] = {}
        for target, lock in locks.items():
            conda = CondaLock.read(lock)
            if conda is None:
                found[target] = lock
                continue
            if not all(self.channels.locate(each.url) for each in conda.packages):
                return None
            found[replace(target, python=conda.python)] = lock
            self.workshop.locks[target.platform] = conda
        return Resolution(found)

    async def _solve(
        self, solver: Solver, wish: CondaWish, targets: Sequence[Target]
    ) -> tuple[dict[Target, tuple[CondaPackage, ...]], CondaWish]:
        try:
            return await self._solve_all(solver, wish, targets), wish
        except FlopsError:
            plain = wish.without_builds()
            if plain is None:
                raise
            return await self._solve_all(solver, plain, targets), plain

    async def _solve_all(
        self, solver: Solver, wish: CondaWish, targets: Sequence[Target]
    ) -> dict[Target, tuple[CondaPackage, ...]]:
        solved: dict[Target, tuple[CondaPackage, ...]] = {}
        texts = [*(self._text(each.text, each.channel) for each in wish.specs), *wish.texts[len(wish.specs) :]]

        async def one(target: Target) -> None:
            try:
                solved[target] = await solver.solve(texts, target)
            except UnsolvableError as error:
                raise await unsolvable(solver, wish.specs, target, error.explanation) from error

        async with tasks() as group:
            for target in targets:
                group.start_soon(one, target)
        return {target: solved[target] for target in targets}

    def _text(self, text: str, channel: str | None) -> str:
        """A requirement, from the channel that it names where that is allowed."""
        found = self.channels.find(channel) if channel else ()
        return f"{found[0].url}::{text}" if found else text

    async def _complete(
        self, wish: CondaWish, target: Target, packages: tuple[CondaPackage, ...]
    ) -> tuple[CondaLock, list[str]]:
        """The lock with the wheels on top, and whose scripts are not run."""
        prefix = await self.workshop.prefix(packages, target)
        provided = await anyio.to_thread.run_sync(python_packages, prefix, target.python)
        needed = [*wish.pip, *(each for each in wish.guest if each.name not in provided)]
        wheels = Lock("")
        if needed:
            folder = self.workshop.wheels.folder / "conda" / "stubs"
            stubs = await anyio.to_thread.run_sync(stub_requirements, provided, folder)
            try:
                lock = await self.wheels.lock([*stubs, *(each.text for each in needed)], target)
            except UnresolvableError as error:
                raise _conflict(needed, provided, target, error) from error
            wheels = lock.without(set(provided))
        scripts = await anyio.to_thread.run_sync(unrun_scripts, prefix)
        return CondaLock(packages, target.python, provided, wheels), scripts


def python_minor(packages: Sequence[CondaPackage]) -> str:
    """The minor of the Python among conda's packages."""
    (python,) = [each.version for each in packages if each.name == "python"]
    return ".".join(python.split(".")[:2])


def _named_by_specs(wish: CondaWish) -> list[str]:
    return [each.channel for each in wish.specs if each.channel]


def _conflict(
    wanted: Sequence[Requirement], provided: dict[str, str], target: Target, error: UnresolvableError
) -> FlopsError:
    why = reason(error.explanation)
    suspects = mentioned(wanted, why.text) or list(wanted)
    where = next((each for each in suspects if each.line is not None), suspects[0])
    code = "FLOPS-B023" if why.no_wheel else "FLOPS-B022"
    detail = f"{target.platform}: {why.text}"
    if where.name in provided:
        detail = (
            f"{target.platform}: conda brings {where.name} {provided[where.name]}, and pip is to bring {where.text}"
        )
    return FlopsError(code, detail, file=where.file, line=where.line)
