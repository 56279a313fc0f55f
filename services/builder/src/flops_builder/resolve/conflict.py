"""Requirements that contradict each other: the one change that a user would notice least.

Of all pins and upper bounds of the repository's own file that take part, each is tried by itself: the nearest release
below and above it with which everything resolves. The smallest move counts: within a minor series before across, across
minors before across majors. A framework, which models are written for, counts a step more; and where moves are alike,
what the code does not import itself gives way first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from flops_builder.dependencies.declaration import Repair, Requirement
from flops_builder.dependencies.guest import WHERE
from flops_builder.dependencies.names import FRAMEWORKS
from flops_builder.dependencies.rules import Rule
from flops_builder.failing import tasks
from flops_builder.resolve.explain import Reason, contradiction, mentioned
from flops_builder.resolve.joint import LOWEST, JointResolver
from flops_builder.resolve.lock import Lock
from flops_builder.resolve.uv import Target
from flops_builder.resolve.wheels import ceiling

MAX_CANDIDATES = 6


@dataclass(frozen=True)
class Move:
    """One requirement moved to a version with which everything resolves."""

    before: Requirement
    after: Requirement
    locks: Mapping[Target, Lock]

    def cost(self, imported: frozenset[str]) -> tuple[int, bool, bool, bool]:
        """The lower, the less a user would notice: see the module."""
        old, new = Version(ceiling(self.before) or "0"), Version(self.after.exact or "0")
        step = _step(old, new)
        framework = self.before.name in FRAMEWORKS
        return step + (framework and step > 0), framework, self.before.name in imported, new < old


async def smallest_move(
    joint: JointResolver, requirements: Sequence[Requirement], movable: Sequence[Requirement], why: Reason
) -> Move | None:
    """The best single move; None where none resolves everything.

    :param movable: those of the requirements that may be moved
    :raises FlopsError: FLOPS-B025, FLOPS-B040
    """
    found: list[Move] = []

    async def one(each: Requirement) -> None:
        found.extend(await _moves(joint, requirements, each))

    candidates = [each for each in mentioned(movable, why.text) if each.file != WHERE and ceiling(each) is not None]
    async with tasks() as group:
        for each in candidates[:MAX_CANDIDATES]:
            group.start_soon(one, each)
    order = {each.name: number for number, each in enumerate(requirements)}
    imported = joint.request.imported
    return min(found, key=lambda move: (*move.cost(imported), order[move.before.name]), default=None)


def told(move: Move, why: Reason, requirements: Sequence[Requirement]) -> Repair:
    """The move with its reason, as a person would say it."""
    each, version = move.before, move.after.exact
    reason = f"{contradiction(why.text, requirements)}; {each.name} {version} is the nearest release that fits"
    return Repair(Rule.CONFLICT, each.text, move.after.text, reason, each.file, each.line)


async def _moves(joint: JointResolver, requirements: Sequence[Requirement], each: Requirement) -> list[Move]:
    """The nearest release below that resolves, and the nearest above."""
    end = ceiling(each)
    if await _versions(joint, requirements, each, "") is None:
        return []
    versions: set[str] = set()
    if each.exact is not None:
        # The resolver takes the highest that resolves, which is the nearest from below.
        versions |= await _versions(joint, requirements, each, f"<{end}") or set()
        versions |= await _versions(joint, requirements, each, f">{end}", LOWEST) or set()
    else:
        versions |= await _versions(joint, requirements, each, f">={end}", LOWEST) or set()
    if not versions:
        # Taken at their lowest, the others may not fit; taken at its highest, this one does.
        versions = await _versions(joint, requirements, each, "") or set()
    moves = []
    for version in sorted(versions):
        moved = each.with_specifier(f"=={version}")
        attempt = await joint.attempt([moved if one is each else one for one in requirements])
        if not attempt.failures:
            moves.append(Move(each, moved, attempt.locks))
    return moves


async def _versions(
    joint: JointResolver,
    requirements: Sequence[Requirement],
    each: Requirement,
    specifier: str,
    options: tuple[str, ...] = (),
) -> set[str] | None:
    """Which versions the requirement gets when it allows these; None: it does not resolve."""
    changed = [each.with_specifier(specifier) if one is each else one for one in requirements]
    attempt = await joint.attempt(changed, options=options)
    if attempt.failures:
        return None
    return {lock.versions[each.name] for lock in attempt.locks.values() if _is_version(lock.versions.get(each.name))}


def _is_version(text: str | None) -> bool:
    try:
        return text is not None and bool(Version(text))
    except InvalidVersion:
        return False


def _step(old: Version, new: Version) -> int:
    """0: within the minor series, 1: across minors, 2: across majors."""
    if old.epoch != new.epoch or old.major != new.major:
        return 2
    return 0 if old.minor == new.minor else 1
