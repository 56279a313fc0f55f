"""Locks of conda environments: solved by rattler, with uv for what comes from PyPI on top."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import anyio
import rattler
from flops_protocol.errors import FlopsError
from flops_protocol.sla import Platform

from flops_builder.conda.channels import Channels
from flops_builder.conda.explain import unsolvable
from flops_builder.conda.lock import CondaLock, CondaPackage
from flops_builder.conda.prefix import python_packages, unrun_scripts
from flops_builder.conda.solver import Solver, UnsolvableError
from flops_builder.conda.stubs import stub_requirements
from flops_builder.conda.wish import CondaWish
from flops_builder.conda.workshop import CondaWorkshop
from flops_builder.dependencies.declaration import Repair, Requirement, requirement
from flops_builder.dependencies.rules import Rule
from flops_builder.failing import tasks
from flops_builder.resolve.joint import JointResolver, Request
from flops_builder.resolve.lock import Lock
from flops_builder.resolve.refusal import refuse_sources
from flops_builder.resolve.relax import Relaxation, Resolution
from flops_builder.resolve.resolver import Resolver
from flops_builder.resolve.uv import Target

STUBS = "conda"
"""Where a requirement for what conda brings stands."""


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
        repairs: dict[Repair, None] = {}

        async def complete(target: Target, packages: tuple[CondaPackage, ...]) -> None:
            lock, on_top, unrun = await self._complete(wish, replace(target, python=python_minor(packages)), packages)
            locks[replace(target, python=lock.python)] = lock.lock
            scripts.update(unrun)
            self.workshop.locks[target.platform] = lock
            added.extend(each for each in wish.guest if each.name in lock.wheels.versions)
            repairs.update(dict.fromkeys(on_top.repairs))
            warnings.extend(each for each in on_top.warnings if each not in warnings)

        async with tasks() as group:
            for target, packages in solved.items():
                group.start_soon(complete, target, packages)
        if scripts:
            warnings.append(f"scripts that packages want to have run are not run: {', '.join(sorted(scripts))}")
        in_order = {target: locks[target] for target in sorted(locks, key=str)}
        why = "the ML worker needs it, and conda does not bring it"
        needs = [Repair(Rule.GUEST_NEEDS, "", each.text, why) for each in wish.guest if each in added]
        return Resolution(in_order, (*wish.repairs, *needs, *repairs), tuple(warnings))

    def known(self, locks: Mapping[Target, Lock]) -> Resolution | None:
        """The locks of an earlier build as they are; None when they name channels that are not configured any more."""
        found: dict[Target, Lock] = {}
        condas: dict[Platform, CondaLock] = {}
        for target, lock in locks.items():
            conda = CondaLock.read(lock)
            if conda is None:
                found[target] = lock
                continue
            if not all(self.channels.locate(each.url) for each in conda.packages):
                return None
            found[replace(target, python=conda.python)] = lock
            condas[target.platform] = conda
        self.workshop.locks.update(condas)
        return Resolution(found)

    async def _solve(
        self, solver: Solver, wish: CondaWish, targets: Sequence[Target]
    ) -> tuple[dict[Target, tuple[CondaPackage, ...]], CondaWish]:
        try:
            return await self._solve_all(solver, wish, targets), wish
        except FlopsError as error:
            plain = wish.without_builds()
            if plain is None or error.body.code not in {"FLOPS-B050", "FLOPS-B051"}:
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
    ) -> tuple[CondaLock, Resolution, list[str]]:
        """The lock with the wheels on top, how they were resolved, and whose scripts are not run."""
        prefix = await self.workshop.prefix(packages, target)
        provided = await anyio.to_thread.run_sync(python_packages, prefix, target.python)
        needed = [*wish.pip, *(each for each in wish.guest if each.name not in provided)]
        scripts = await anyio.to_thread.run_sync(unrun_scripts, prefix)
        if not needed:
            return CondaLock(packages, target.python, provided, Lock("")), Resolution({}), scripts
        _contradiction(needed, provided, target)
        folder = self.workshop.wheels.folder / "conda" / "stubs"
        stubs = await anyio.to_thread.run_sync(stub_requirements, provided, folder)
        listed = (*(requirement(each, STUBS) for each in stubs), *needed)
        request = Request(listed, (), (target,), wish.off)
        try:
            on_top = await Relaxation(JointResolver(self.wheels, request)).resolve()
        except FlopsError as error:
            body = error.body
            detail = body.detail.replace(f"{folder.as_uri()}/", "").replace(str(folder), "conda")
            brought = [
                f"{name} {provided[name]}" for name in provided if re.search(rf"(?<![\w.-]){name}(?![\w-])", detail)
            ]
            detail += f". conda brings {', '.join(brought)}" if brought else ""
            raise FlopsError(body.code, detail, hint=body.hint, file=_real(body.file), line=body.line) from error
        wheels = on_top.locks[target].without(set(provided))
        return CondaLock(packages, target.python, provided, wheels), on_top, scripts


def python_minor(packages: Sequence[CondaPackage]) -> str:
    """The minor of the Python among conda's packages."""
    (python,) = [each.version for each in packages if each.name == "python"]
    return ".".join(python.split(".")[:2])


def _named_by_specs(wish: CondaWish) -> list[str]:
    return [each.channel for each in wish.specs if each.channel]


def _contradiction(wanted: Sequence[Requirement], provided: Mapping[str, str], target: Target) -> None:
    """Refuses what pip is to bring in another version than conda does."""
    for each in wanted:
        version = provided.get(each.name)
        if version is not None and not each.parsed.specifier.contains(version, prereleases=True):
            detail = f"{target.platform}: conda brings {each.name} {version}, and pip is to bring {each.text}"
            raise FlopsError("FLOPS-B022", detail, file=each.file, line=each.line)


def _real(file: str | None) -> str | None:
    return None if file == STUBS else file
