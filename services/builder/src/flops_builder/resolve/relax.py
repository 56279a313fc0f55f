"""Locks for all platforms, with the smallest change to the requirements where there are none as they stand.

A version without a wheel for one of the platforms gives way to the nearest release that has one for all: the next
above, else the last below. All platforms get the same change. What contradicts itself is settled by one move
(`conflict.py`), what was yanked moves on (`yanked.py`). Everything else is told, not repaired.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from flops_protocol.sla import Platform
from packaging.version import Version

from flops_builder.dependencies.conda import CONDA_FILES
from flops_builder.dependencies.declaration import Repair, Requirement, requirement
from flops_builder.dependencies.rules import Rule
from flops_builder.resolve.conflict import smallest_move, told
from flops_builder.resolve.explain import Reason, mentioned, reason
from flops_builder.resolve.joint import JointResolver
from flops_builder.resolve.lock import Lock
from flops_builder.resolve.refusal import refusal, refuse_sources
from flops_builder.resolve.torch import cuda_packages
from flops_builder.resolve.undeclared import undeclared
from flops_builder.resolve.uv import Target
from flops_builder.resolve.wheels import FirstWheels, ceiling
from flops_builder.resolve.yanked import Unyanked, unyank


@dataclass(frozen=True)
class Resolution:
    """A lock for each target, and what was changed to get there."""

    locks: Mapping[Target, Lock]
    repairs: tuple[Repair, ...] = ()
    warnings: tuple[str, ...] = ()
    again: bool = False
    """Whether the locks are those of an earlier build."""

    def of(self, platform: Platform) -> Lock:
        """The lock of a platform, whichever Python it is for."""
        return next(lock for target, lock in self.locks.items() if target.platform == platform)


class Relaxation:
    """Resolves one request, changing what has to be changed."""

    def __init__(self, joint: JointResolver) -> None:
        self._joint = joint
        self._requirements = joint.request.requirements
        self._repairs: dict[str, Repair] = {}
        self._public: list[Repair] = []
        self._wheels = FirstWheels(joint)
        self._widened = False

    async def resolve(self) -> Resolution:
        """The locks.

        :raises FlopsError: FLOPS-B022, FLOPS-B023, FLOPS-B025, FLOPS-B040
        """
        refuse_sources(self._requirements)
        while True:
            attempt = await self._joint.attempt(self._requirements)
            if not attempt.failures:
                return await self._complete(await unyank(self._joint, self._requirements, attempt.locks))
            target, explanation = next(iter(attempt.failures.items()))
            why = reason(explanation)
            # Each of these can happen only so often: a requirement is moved once, and all are widened once.
            if not (await self._relax(why, target) or self._widen(why) or await self._settle(why)):
                raise await refusal(self._joint, self._requirements, why, target)

    async def _complete(self, found: Unyanked) -> Resolution:
        """The locks with what releases need and do not say; told only, where that cannot be had."""
        added: list[Repair] = []
        warnings: list[str] = [*found.warnings]
        locks, requirements, limits = found.locks, found.requirements, tuple[str, ...]()
        for each in [one for one in undeclared(locks) if one.rule not in self._joint.request.off]:
            wanted = (*requirements, requirement(each.requirement, "flops_builder")) if each.missing else requirements
            attempt = await self._joint.attempt(wanted, (*limits, each.requirement))
            if attempt.failures:
                warnings.append(f"{each.why}, and {each.requirement} does not fit the others")
            else:
                locks, requirements, limits = attempt.locks, wanted, (*limits, each.requirement)
                added.append(Repair(each.rule, "", each.requirement, each.why))
        settled = [self._settled(name, locks) for name in self._repairs]
        return Resolution(
            locks,
            (*self._public, *settled, *found.repairs, *added),
            (*_warnings(locks, gpus=self._joint.request.gpus), *warnings),
        )

    async def _relax(self, why: Reason, target: Target) -> bool:
        """Moves requirements without a wheel to the nearest version that has one. False: there was nothing to move."""
        moved = False
        for each in await self._suspects(why, target):
            if each.name in why.no_version | why.no_wheel and self._go_public(each):
                moved = True
                continue
            rule, cause = Rule.NO_WHEEL, f"there is no wheel of it for {target}"
            if each.name in why.no_version:
                if not _of_conda(each):
                    continue  # pip's user wrote a version that is not there: a mistake, not a translation
                rule, cause = Rule.CONDA_VERSION, f"PyPI has no such version of {each.name}"
            elif each.name not in why.no_wheel and not await self._wheels.missing(each, target):
                continue
            moved = await self._move(each, rule, cause) or moved
        return moved

    async def _suspects(self, why: Reason, target: Target) -> list[Requirement]:
        """What uv names; and where wheels are missing, all pins of a conda file that lack one: its versions are
        translated in any case, and uv names one at a time."""
        movable = [each for each in self._requirements if not each.parsed.url and each.name not in self._repairs]
        named = mentioned(movable, why.text)
        if why.no_wheel or why.no_version:
            conda = [each for each in movable if _of_conda(each) and each not in named]
            await self._wheels.survey([*named, *conda])
            named += [each for each in conda if await self._wheels.missing(each, target)]
        return named

    async def _move(self, each: Requirement, rule: Rule, cause: str) -> bool:
        if rule in self._joint.request.off:
            return False
        end = ceiling(each)
        nearest = None if end is None else await self._nearest(each, end)
        if nearest is None:
            return False
        changed = each.with_specifier(f"=={nearest}")
        self._requirements = tuple(changed if one is each else one for one in self._requirements)
        why = f"{cause}, and {nearest} is the nearest release that has one"
        self._repairs[each.name] = Repair(rule, each.text, changed.text, why, each.file, each.line)
        return True

    def _go_public(self, each: Requirement) -> bool:
        """Takes the local part off a pin: `+cu118` is a build that only its own index has."""
        public = (each.exact or "").partition("+")
        if not public[1] or Rule.LOCAL_VERSION in self._joint.request.off:
            return False
        changed = each.with_specifier(f"=={public[0]}")
        self._requirements = tuple(changed if one is each else one for one in self._requirements)
        why = f"the index does not have the build +{public[2]} of it"
        self._public.append(Repair(Rule.LOCAL_VERSION, each.text, changed.text, why, each.file, each.line))
        return True

    async def _settle(self, why: Reason) -> bool:
        """Moves the one pin that settles a contradiction with the least change."""
        off = Rule.CONFLICT in self._joint.request.off or self._joint.request.locked
        if off or why.no_wheel or why.no_version or why.not_found:
            return False
        movable = [each for each in self._requirements if not each.parsed.url and each.name not in self._repairs]
        move = await smallest_move(self._joint, self._requirements, movable, why)
        if move is None:
            return False
        self._repairs[move.before.name] = told(move, why, self._requirements)
        self._requirements = tuple(move.after if one is move.before else one for one in self._requirements)
        return True

    async def _nearest(self, each: Requirement, end: str) -> str | None:
        """The nearest version with a wheel for every target: the lowest from `end` up, else the highest below."""
        targets = self._joint.request.targets
        above = [await self._wheels.first(each, target) for target in targets]
        if all(above):
            return max((version for version in above if version), key=Version)
        below = [await self._joint.version(f"{each.name}<{end}", target) for target in targets]
        return min((version for version in below if version), key=Version) if all(below) else None

    def _widen(self, why: Reason) -> bool:
        """Lets what was moved before move further up, when it does not fit the others; once."""
        if self._widened or not self._repairs or why.no_wheel_at_all:
            return False
        self._widened = True
        originals = {each.name: each for each in self._joint.request.requirements}
        self._requirements = tuple(
            each.with_specifier(f">={ceiling(originals[each.name])}") if each.name in self._repairs else each
            for each in self._requirements
        )
        return True

    def _settled(self, name: str, locks: Mapping[Target, Lock]) -> Repair:
        """The repair of a package with what came out of it, where it was widened."""
        repair = self._repairs[name]
        if not self._widened:
            return repair
        versions = sorted({lock.versions[name] for lock in locks.values() if name in lock.versions})
        chosen = f"{name}=={' or '.join(versions)}"
        return replace(repair, after=chosen, why=f"{repair.why.partition(', and ')[0]}; this release fits the others")


def _of_conda(each: Requirement) -> bool:
    return each.file.rpartition("/")[2] in CONDA_FILES


def _warnings(locks: Mapping[Target, Lock], *, gpus: bool) -> tuple[str, ...]:
    warnings = []
    for target, lock in locks.items():
        cuda = cuda_packages(lock)
        if cuda and not gpus:
            warnings.append(
                f"{target}: PyTorch comes with CUDA ({len(cuda)} packages, gigabytes), which no learner's node can "
                "use: there is no build for the CPU here. FLOPS_TORCH_CPU_INDEX names an index or a folder that has one"
            )
    for name in sorted({name for lock in locks.values() for name in lock.versions}):
        told = {target.platform: lock.versions[name] for target, lock in locks.items() if name in lock.versions}
        if len({version.partition("+")[0] for version in told.values()}) > 1:
            listed = ", ".join(f"{version} on {where}" for where, version in sorted(told.items()))
            warnings.append(f"{name} differs between the platforms: {listed}")
    return tuple(warnings)
