"""From which version on a requirement has wheels: asked of the index once for all pins, later for the rest."""

from __future__ import annotations

from collections.abc import Sequence

from packaging.version import InvalidVersion, Version

from flops_builder.dependencies.declaration import Requirement
from flops_builder.resolve.joint import JointResolver
from flops_builder.resolve.uv import Target

UPPER = frozenset({"==", "===", "<", "<=", "~="})


class FirstWheels:
    """What is known of the first wheels of one request's packages."""

    def __init__(self, joint: JointResolver) -> None:
        self._joint = joint
        self._known: dict[tuple[str, Target], str | None] = {}

    async def survey(self, requirements: Sequence[Requirement]) -> None:
        """Asks about all that are pinned to one version, in one call for each target.

        :raises FlopsError: FLOPS-B025, FLOPS-B040
        """
        pins = {each.name: f"{each.name}>={each.exact}" for each in requirements if each.exact and not each.parsed.url}
        for target in self._joint.request.targets:
            if pins and not any((name, target) in self._known for name in pins):
                found = await self._joint.lowest(list(pins.values()), target)
                self._known |= {(name, target): version for name, version in found.items()}

    async def first(self, each: Requirement, target: Target) -> str | None:
        """The lowest version with a wheel, from the pin or the upper end of what is allowed; None: there is none.

        :raises FlopsError: FLOPS-B025, FLOPS-B040
        """
        end = ceiling(each)
        if end is None:
            return None
        key = (each.name, target)
        if key not in self._known:
            found = await self._joint.lowest([f"{each.name}>={end}"], target)
            self._known[key] = found.get(each.name)
        return self._known[key]

    async def missing(self, each: Requirement, target: Target) -> bool:
        """Whether what is pinned to one version has no wheel of it.

        :raises FlopsError: FLOPS-B025, FLOPS-B040
        """
        if each.exact is None or each.parsed.url:
            return False
        first = await self.first(each, target)
        return first is None or Version(first) != Version(each.exact)


def ceiling(each: Requirement) -> str | None:
    """The version from which a wheel is looked for: the pin, or the upper end of what is allowed."""
    found = [one.version.removesuffix(".*") for one in each.parsed.specifier if one.operator in UPPER]
    try:
        return max(found, key=Version) if found else None
    except InvalidVersion:
        return None
