"""What a request needs that has no wheel: found at the index, fetched, built, and offered to the resolver."""

from __future__ import annotations

import tomllib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol
from urllib.parse import unquote, urlsplit

import anyio
from flops_protocol.errors import FlopsError
from flops_protocol.sla import Platform
from packaging.utils import canonicalize_name

from flops_builder.dependencies.declaration import Requirement
from flops_builder.failing import tasks
from flops_builder.resolve.built import BuiltWheel
from flops_builder.resolve.explain import mentioned, reason
from flops_builder.resolve.joint import JointResolver
from flops_builder.resolve.uv import MACHINES, Target, UnresolvableError
from flops_builder.sdist.fetching import Fetcher, Source
from flops_builder.sdist.unpack import native_sources

ROUNDS = 12
"""How many packages without a wheel one request may have."""


class WheelBuilder(Protocol):
    """Builds wheels for one platform and Python."""

    @property
    def warnings(self) -> list[str]:
        """What is worth telling of the builds so far."""
        ...

    async def for_python(self, minor: str) -> WheelBuilder:
        """The same for another Python."""
        ...

    async def build(self, source: Source, name: str, version: str | None) -> BuiltWheel:
        """The wheel of a source.

        :param version: what the wheel has to have; None: any
        :raises FlopsError: FLOPS-B023, FLOPS-B025 to FLOPS-B029, FLOPS-B040
        """
        ...


@dataclass(frozen=True)
class Release:
    """A release that the index has as source."""

    name: str
    version: str
    url: str
    sha256: str | None


@dataclass(frozen=True)
class Sources:
    """Builds what has no wheel, on the platforms that can be built on here."""

    fetcher: Fetcher
    builders: Mapping[Platform, WheelBuilder]
    """The first one builds what serves every platform."""
    _fetched: dict[str, Source] = field(default_factory=dict)
    _turns: dict[str, anyio.Lock] = field(default_factory=dict)
    """By address: two targets may want the same source at once."""
    _turn: anyio.Lock = field(default_factory=anyio.Lock)
    """One build at a time: each may take as much of the machine as is allowed."""

    @property
    def warnings(self) -> list[str]:
        """What is worth telling of the builds so far."""
        return [each for builder in self.builders.values() for each in builder.warnings]

    async def for_python(self, minor: str) -> Sources:
        """The same for an environment with another Python."""
        builders = {platform: await each.for_python(minor) for platform, each in self.builders.items()}
        return replace(self, builders=builders)

    async def direct(self, joint: JointResolver) -> None:
        """Builds the requirements that are addresses of source code; the resolver has their wheels from then on.

        :raises FlopsError: FLOPS-B001 to FLOPS-B008, FLOPS-B023, FLOPS-B025 to FLOPS-B029, with file and line
        """

        async def one(each: Requirement, targets: list[Target]) -> None:
            try:
                url = str(each.parsed.url)
                source = await self._fetch(url, partial(self.fetcher.direct, each.name, url))
                await self._build(joint, source, each.name, None, targets)
            except FlopsError as error:
                raise placed(error, each) from error

        async with tasks() as group:
            for each in joint.request.requirements:
                targets = [target for target in joint.request.targets if applies(each, target)]
                if is_source(each) and targets:
                    group.start_soon(one, each, targets)

    async def scout(
        self, joint: JointResolver, requirements: Sequence[Requirement], names: Iterable[str], target: Target
    ) -> list[Release]:
        """The releases that would be taken of packages without a wheel; empty when that would not help either.

        :raises FlopsError: FLOPS-B025, FLOPS-B040
        """
        wanted = sorted(names)
        for _ in range(ROUNDS):
            try:
                return [
                    each for each in _releases(await joint.sources(requirements, wanted, target)) if each.name in wanted
                ]
            except UnresolvableError as error:
                more = reason(error.explanation).no_wheel - set(wanted)
                if not more:
                    return []
                wanted += sorted(more)
        return []

    async def build(self, joint: JointResolver, release: Release, targets: Sequence[Target]) -> None:
        """Builds a release for these targets; the resolver has the wheel from then on.

        :raises FlopsError: FLOPS-B023, FLOPS-B025 to FLOPS-B029, FLOPS-B040
        """
        await self._build(joint, await self._archive(release), release.name, release.version, targets)

    async def native(self, release: Release) -> bool:
        """Whether a compiler is needed, as far as the files of its source tell.

        :raises FlopsError: FLOPS-B025, FLOPS-B028
        """
        source = await self._archive(release)
        return bool(await anyio.to_thread.run_sync(native_sources, source.folder))

    async def _archive(self, release: Release) -> Source:
        return await self._fetch(release.url, partial(self.fetcher.release, release.url, release.sha256))

    async def _fetch(self, url: str, fetch: Callable[[], Awaitable[Source]]) -> Source:
        async with self._turns.setdefault(url, anyio.Lock()):
            if url not in self._fetched:
                self._fetched[url] = await fetch()
        return self._fetched[url]

    async def _build(
        self, joint: JointResolver, source: Source, name: str, version: str | None, targets: Sequence[Target]
    ) -> None:
        wanted = {target.platform for target in targets}
        natives = await anyio.to_thread.run_sync(native_sources, source.folder)
        if natives and not wanted & self.builders.keys():
            raise self._elsewhere(name, version, natives[0], sorted(wanted))
        # What serves every platform is built on the first: this machine.
        here = next(each for each in self.builders if not natives or each in wanted)
        async with self._turn:
            wheel = await self.builders[here].build(source, name, version)
        missing = set() if wheel.pure else wanted - {here}
        if missing - self.builders.keys():
            reasons = natives[0] if natives else wheel.file.name
            raise self._elsewhere(name, version, reasons, sorted(missing - self.builders.keys()))
        built = dict.fromkeys({each.platform for each in joint.request.targets} | wanted, wheel)
        if not wheel.pure:
            built = {here: wheel}
            for platform in sorted(missing):
                async with self._turn:
                    built[platform] = await self.builders[platform].build(source, name, version)
        joint.wheels.setdefault(canonicalize_name(name), {}).update(built)

    def _elsewhere(self, name: str, version: str | None, native: str, platforms: Sequence[str]) -> FlopsError:
        title = name if version is None else f"{name}=={version}"
        return FlopsError(
            "FLOPS-B023",
            f"{title} has no wheel for {' and '.join(platforms)}, and its source has native code ({native}), which "
            f"is built on {' and '.join(self.builders)} only",
        )


def applies(each: Requirement, target: Target) -> bool:
    """Whether a requirement's marker holds on a target."""
    if each.parsed.marker is None:
        return True
    environment = {
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_machine": MACHINES[target.platform],
        "python_version": target.python,
        "python_full_version": f"{target.python}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    return each.parsed.marker.evaluate(environment)


def is_source(each: Requirement) -> bool:
    """Whether a requirement is an address of source code, not of a wheel."""
    url = each.parsed.url
    return url is not None and not unquote(urlsplit(url).path).endswith(".whl")


def placed(error: FlopsError, each: Requirement | None) -> FlopsError:
    """The error with the place of the requirement that it is about."""
    body = error.body
    if each is None or body.file is not None:
        return error
    return FlopsError.from_body(body.model_copy(update={"file": each.file, "line": each.line}))


def wanted_by(requirements: Sequence[Requirement], name: str, text: str) -> Requirement | None:
    """The requirement itself, or the first that an explanation names: it wants what has no wheel."""
    own = next((each for each in requirements if each.name == name), None)
    return own or next(iter(mentioned(requirements, text)), None)


def _releases(pylock: str) -> list[Release]:
    found = []
    for package in tomllib.loads(pylock).get("packages", []):
        archive = package.get("sdist", {})
        if "url" in archive:
            sha256 = archive.get("hashes", {}).get("sha256")
            found.append(Release(canonicalize_name(package["name"]), package["version"], archive["url"], sha256))
    return found
