"""Releases that their project has taken back (PEP 592): a pin on one moves to the nearest that was not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from packaging.version import Version

from flops_builder.dependencies.declaration import Repair, Requirement
from flops_builder.dependencies.rules import Rule
from flops_builder.resolve.joint import JointResolver
from flops_builder.resolve.lock import Lock
from flops_builder.resolve.uv import Target


@dataclass(frozen=True)
class Unyanked:
    """What is left of the requirements, and of what was said about them."""

    requirements: tuple[Requirement, ...]
    locks: Mapping[Target, Lock]
    repairs: tuple[Repair, ...] = ()
    warnings: tuple[str, ...] = ()


async def unyank(joint: JointResolver, requirements: tuple[Requirement, ...], locks: Mapping[Target, Lock]) -> Unyanked:
    """Moves the pins that can be moved; a lock's, and what other packages pin, is told only.

    :raises FlopsError: FLOPS-B025, FLOPS-B040
    """
    repairs: list[Repair] = []
    warnings: list[str] = []
    yanked = {name: each for lock in locks.values() for name, each in lock.yanked.items()}
    for name, (version, reason) in sorted(yanked.items()):
        because = f"its project took {name} {version} back" + (f": {reason}" if reason else "")
        pin = next((each for each in requirements if each.name == name and each.exact == version), None)
        nearest = None
        if pin is not None and not joint.request.locked and Rule.YANKED not in joint.request.off:
            nearest = await _nearest(joint, pin, version)
        if pin is not None and nearest is not None:
            moved = pin.with_specifier(f"=={nearest}")
            changed = tuple(moved if each is pin else each for each in requirements)
            attempt = await joint.attempt(changed)
            if not attempt.failures:
                requirements, locks = changed, attempt.locks
                why = f"{because}; {nearest} is the nearest release that it did not take back"
                repairs.append(Repair(Rule.YANKED, pin.text, moved.text, why, pin.file, pin.line))
                continue
        warnings.append(_stays(because, pin, nearest))
    return Unyanked(requirements, locks, tuple(repairs), tuple(warnings))


def _stays(because: str, pin: Requirement | None, nearest: str | None) -> str:
    if pin is None:
        return f"{because}; another package wants just this one, so it stays"
    place = f"{pin.file}:{pin.line}" if pin.line else pin.file
    fits = f"; {nearest} is the nearest other one, which does not fit the others" if nearest else ""
    return f"{place}: {because}; it stays{fits}"


async def _nearest(joint: JointResolver, pin: Requirement, version: str) -> str | None:
    """The lowest release above that every target has a wheel of, else the highest below."""
    targets: Sequence[Target] = joint.request.targets
    above = [(await joint.lowest([f"{pin.name}>{version}"], target)).get(pin.name) for target in targets]
    if all(above):
        return max((each for each in above if each), key=Version)
    below = [await joint.version(f"{pin.name}<{version}", target) for target in targets]
    return min((each for each in below if each), key=Version) if all(below) else None
