"""Locks for all platforms, with the smallest change to the requirements where there are none as they stand.

A version without a wheel for one of the platforms is built from its source where that is pure Python, or where no
release near has a wheel; else it gives way to the nearest release that has one for all: the next above, else the last
below. All platforms get the same change. Everything else is told, not repaired.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from flops_protocol.errors import FlopsError
from packaging.version import Version

from flops_builder.dependencies.declaration import Repair, Requirement, requirement
from flops_builder.resolve.explain import Reason, mentioned, reason
from flops_builder.resolve.joint import JointResolver
from flops_builder.resolve.lock import Lock
from flops_builder.resolve.refusal import refusal, refuse_sources
from flops_builder.resolve.sources import Sources, placed, wanted_by
from flops_builder.resolve.undeclared import undeclared
from flops_builder.resolve.uv import Target
from flops_builder.resolve.wheels import FirstWheels, ceiling

BUILD_FAILED = frozenset({"FLOPS-B026", "FLOPS-B027", "FLOPS-B028", "FLOPS-B029"})
CONDA_FILES = frozenset({"conda.yaml", "conda.yml", "environment.yaml", "environment.yml"})


@dataclass(frozen=True)
class Resolution:
    """A lock for each target, and what was changed to get there."""

    locks: Mapping[Target, Lock]
    repairs: tuple[Repair, ...] = ()
    warnings: tuple[str, ...] = ()


class Relaxation:
    """Resolves one request, changing what has to be changed."""

    def __init__(self, joint: JointResolver, sources: Sources | None = None) -> None:
        self._joint = joint
        self._sources = sources
        self._tried: dict[str, str] = {}
        """Pins that were built from source (empty), and why others could not be; by name."""
        self._built: set[tuple[str, Target]] = set()
        """What was built because nothing near has a wheel."""
        self._requirements = joint.request.requirements
        self._repairs: dict[str, Repair] = {}
        self._wheels = FirstWheels(joint)
        self._widened = False

    async def resolve(self) -> Resolution:
        """The locks.

        :raises FlopsError: FLOPS-B022, FLOPS-B023, FLOPS-B025 to FLOPS-B029, FLOPS-B040; FLOPS-B001 to FLOPS-B008 for
            a package in a repository
        """
        if self._sources is None:
            refuse_sources(self._requirements)
        else:
            await self._sources.direct(self._joint)
        while True:
            attempt = await self._joint.attempt(self._requirements)
            if not attempt.failures:
                return await self._complete(attempt.locks)
            target, explanation = next(iter(attempt.failures.items()))
            why = reason(explanation)
            # Each of these can happen only so often: a requirement is moved once, and all are widened once.
            if not (await self._relax(why, target) or await self._build(why, attempt.failures) or self._widen(why)):
                raise await refusal(self._joint, self._requirements, why, target)

    async def _complete(self, locks: Mapping[Target, Lock]) -> Resolution:
        """The locks with what releases need and do not say; told only, where that cannot be had."""
        added: list[Repair] = []
        warnings: list[str] = []
        requirements, limits = self._requirements, tuple[str, ...]()
        for each in [one for one in undeclared(locks) if one.rule not in self._joint.request.off]:
            wanted = (*requirements, requirement(each.requirement, "flops_builder")) if each.missing else requirements
            attempt = await self._joint.attempt(wanted, (*limits, each.requirement))
            if attempt.failures:
                warnings.append(f"{each.why}, and {each.requirement} does not fit the others")
            else:
                locks, requirements, limits = attempt.locks, wanted, (*limits, each.requirement)
                added.append(Repair(each.rule, "", each.requirement, each.why))
        settled = [self._settled(name, locks) for name in self._repairs]
        return Resolution(locks, (*settled, *added), (*_warnings(locks), *warnings))

    async def _relax(self, why: Reason, target: Target) -> bool:
        """Moves requirements without a wheel to the nearest version that has one. False: there was nothing to move."""
        moved = False
        for each in await self._suspects(why, target):
            rule, cause = "no-wheel", f"there is no wheel of it for {target}"
            if each.name in why.no_version:
                if not _of_conda(each):
                    continue  # pip's user wrote a version that is not there: a mistake, not a translation
                rule, cause = "conda-version", f"PyPI has no such version of {each.name}"
            elif each.name not in why.no_wheel and not await self._wheels.missing(each, target):
                continue
            if rule == "no-wheel" and await self._keep(each, target):
                moved = True
                continue
            moved = await self._move(each, rule, self._tried.get(each.name) or cause) or moved
        return moved

    async def _keep(self, each: Requirement, target: Target) -> bool:
        """Builds what is pinned to a pure release, rather than moving it. False: it has to move."""
        end = ceiling(each)
        if self._sources is None or end is None or each.name in self._tried:
            return False
        nearest = await self._nearest(each, end)
        # A wheel for one platform tells of native code without a look into the source: that is not built where a
        # release near has a wheel, since it needs compilers and libraries, and minutes.
        if nearest is None or not (await self._joint.wheel(each.name, nearest, target)).endswith("-none-any.whl"):
            return False
        try:
            for release in await self._sources.scout(self._joint, self._requirements, [each.name], target):
                if release.name == each.name and not await self._sources.native(release):
                    await self._sources.build(self._joint, release, self._joint.request.targets)
                    self._tried[each.name] = ""
                    return True
        except FlopsError as error:
            if error.body.code not in BUILD_FAILED:
                raise placed(error, each) from error
            self._tried[each.name] = f"its source could not be built ({error.body.detail.splitlines()[0]})"
        return False

    async def _build(self, why: Reason, failures: Mapping[Target, str]) -> bool:
        """Builds what has no wheel and no release near that has one. False: there is nothing that could be built."""
        target = next(iter(failures))
        missing = {name for name in why.no_wheel if (name, target) not in self._built}
        if self._sources is None or not missing:
            return False
        built = False
        for release in await self._sources.scout(self._joint, self._requirements, missing, target):
            lacking = [each for each, text in failures.items() if release.name in reason(text).no_wheel] or [target]
            targets = [each for each in lacking if (release.name, each) not in self._built]
            if not targets:
                continue
            self._built |= {(release.name, each) for each in targets}
            try:
                await self._sources.build(self._joint, release, targets)
            except FlopsError as error:
                raise placed(error, wanted_by(self._requirements, release.name, why.text)) from error
            built = True
        return built

    async def _suspects(self, why: Reason, target: Target) -> list[Requirement]:
        """What uv names; and where wheels are missing, all pins of a conda file that lack one: its versions are
        translated in any case, and uv names one at a time."""
        done = {*self._repairs, *(name for name, _ in self._built)}
        done |= {name for name, failed in self._tried.items() if not failed}
        movable = [each for each in self._requirements if not each.parsed.url and each.name not in done]
        named = mentioned(movable, why.text)
        if why.no_wheel or why.no_version:
            conda = [each for each in movable if _of_conda(each) and each not in named]
            await self._wheels.survey([*named, *conda])
            named += [each for each in conda if await self._wheels.missing(each, target)]
        return named

    async def _move(self, each: Requirement, rule: str, cause: str) -> bool:
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


def _warnings(locks: Mapping[Target, Lock]) -> tuple[str, ...]:
    warnings = []
    for target, lock in locks.items():
        cuda = [name for name in lock.versions if name.startswith("nvidia-")]
        if cuda:
            warnings.append(
                f"{target}: PyTorch comes with CUDA ({len(cuda)} packages, gigabytes). UV_TORCH_BACKEND=cpu, or a "
                "folder of CPU wheels in find-links, takes the small one"
            )
    for name in sorted({name for lock in locks.values() for name in lock.versions}):
        told = {target.platform: lock.versions[name] for target, lock in locks.items() if name in lock.versions}
        if len({version.partition("+")[0] for version in told.values()}) > 1:
            listed = ", ".join(f"{version} on {where}" for where, version in sorted(told.items()))
            warnings.append(f"{name} differs between the platforms: {listed}")
    return tuple(warnings)
