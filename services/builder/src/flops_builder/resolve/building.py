"""When a package is built from its source, and what became of that, for one request.

A pin to a pure release is kept by building it. What nothing near has a wheel of is built, too. Native code whose
neighbour has a wheel is not: it needs compilers and libraries, and minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flops_protocol.errors import FlopsError

from flops_builder.dependencies.declaration import Requirement
from flops_builder.resolve.explain import Reason, reason
from flops_builder.resolve.joint import JointResolver
from flops_builder.resolve.refusal import refuse_sources
from flops_builder.resolve.sources import Sources, placed, wanted_by
from flops_builder.resolve.uv import Target
from flops_builder.resolve.wheels import ceiling

BUILD_FAILED = frozenset({"FLOPS-B026", "FLOPS-B027", "FLOPS-B028", "FLOPS-B029"})


class Building:
    """What is built for a request. The resolver has each wheel as soon as it is there."""

    def __init__(self, joint: JointResolver, sources: Sources | None) -> None:
        """`sources` None: nothing is built here."""
        self._joint = joint
        self._sources = sources
        self._kept: set[str] = set()
        self._missing: set[tuple[str, Target]] = set()
        self.failed: dict[str, str] = {}
        """Why pins could not be kept, by name."""

    @property
    def done(self) -> set[str]:
        """The names of what was built."""
        return self._kept | {name for name, _ in self._missing}

    async def direct(self) -> None:
        """Builds the request's addresses of source code.

        :raises FlopsError: FLOPS-B001 to FLOPS-B008, FLOPS-B023, FLOPS-B025 to FLOPS-B029, with file and line
        """
        if self._sources is None:
            refuse_sources(self._joint.request.requirements)
        else:
            await self._sources.direct(self._joint)

    def may_keep(self, each: Requirement) -> bool:
        """Whether a pin could be kept by building it, and that was not tried yet."""
        tried = each.name in self._kept or each.name in self.failed
        return self._sources is not None and not tried and ceiling(each) is not None

    async def keep(self, requirements: Sequence[Requirement], each: Requirement, nearest: str, target: Target) -> bool:
        """Builds what is pinned to a pure release. False: it has to move.

        :param nearest: the version that it would move to
        :raises FlopsError: FLOPS-B023, FLOPS-B025, FLOPS-B040
        """
        # A wheel for one platform tells of native code without a look into the source.
        pure = (await self._joint.wheel(each.name, nearest, target)).endswith("-none-any.whl")
        if self._sources is None or not pure:
            return False
        try:
            for release in await self._sources.scout(self._joint, requirements, [each.name], target):
                if release.name == each.name and not await self._sources.native(release):
                    await self._sources.build(self._joint, release, self._joint.request.targets)
                    self._kept.add(each.name)
                    return True
        except FlopsError as error:
            if error.body.code not in BUILD_FAILED:
                raise placed(error, each) from error
            self.failed[each.name] = f"its source could not be built ({error.body.detail.splitlines()[0]})"
        return False

    async def missing(self, requirements: Sequence[Requirement], why: Reason, failures: Mapping[Target, str]) -> bool:
        """Builds what has no wheel, and no release near that has one. False: there is nothing that could be built.

        :raises FlopsError: FLOPS-B023, FLOPS-B025 to FLOPS-B029, FLOPS-B040
        """
        target = next(iter(failures))
        names = {name for name in why.no_wheel if (name, target) not in self._missing}
        if self._sources is None or not names:
            return False
        built = False
        for release in await self._sources.scout(self._joint, requirements, names, target):
            lacking = [each for each, text in failures.items() if release.name in reason(text).no_wheel] or [target]
            targets = [each for each in lacking if (release.name, each) not in self._missing]
            if not targets:
                continue
            self._missing |= {(release.name, each) for each in targets}
            try:
                await self._sources.build(self._joint, release, targets)
            except FlopsError as error:
                raise placed(error, wanted_by(requirements, release.name, why.text)) from error
            built = True
        return built
