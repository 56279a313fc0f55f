"""Wheels that a build would make, foreseen: nothing of a source runs, and no wheel is made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import anyio
from packaging.utils import canonicalize_name

from flops_builder.resolve.built import BuiltWheel
from flops_builder.resolve.standin import write_standin
from flops_builder.resolve.uv import MACHINES, Target
from flops_builder.sdist.fetching import Source
from flops_builder.sdist.metadata import foretold
from flops_builder.sdist.unpack import native_sources
from flops_builder.sdist.wheelhouse import Wheelhouse

UNKNOWN = "0"


@dataclass(frozen=True)
class ForeseeingHouse:
    """In the place of a wheelhouse, says what that would build; what it has built before counts as it is."""

    house: Wheelhouse
    folder: Path
    """Scratch."""

    @property
    def warnings(self) -> list[str]:
        """What is worth telling."""
        return self.house.warnings

    async def for_python(self, minor: str) -> ForeseeingHouse:
        """The same for another Python."""
        return ForeseeingHouse(await self.house.for_python(minor), self.folder)

    async def build(self, source: Source, name: str, version: str | None) -> BuiltWheel:
        """A wheel in the place of the one that would be built, with what the source says of itself.

        :raises FlopsError: as `Wheelhouse.build`, as far as it shows without building
        """
        known = await self.house.known(source, name, version)
        if known is not None:
            return known
        told = await anyio.to_thread.run_sync(foretold, source.folder)
        has = version or told.version
        title = name if has is None else f"{name}=={has}"
        if told.requires is None:
            self._tell(f"{title} is built from {source.origin}: what it needs shows only then")
        if has is None:
            self._tell(f"{name} is built from {source.origin}: its version shows only then")
        requires = told.requires or ()
        return await anyio.to_thread.run_sync(self._stand_in, source, canonicalize_name(name), has, requires)

    def _stand_in(self, source: Source, name: str, version: str | None, requires: tuple[str, ...]) -> BuiltWheel:
        tag = _native(self.house.target) if native_sources(source.folder) else "py3-none-any"
        folder = self.folder / f"{source.digest[:16]}-{tag}"
        wheel = write_standin(folder, name, version or UNKNOWN, requires, tag)
        sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
        return BuiltWheel(name, version or UNKNOWN, sha256, wheel, source.origin)

    def _tell(self, warning: str) -> None:
        if warning not in self.warnings:
            self.warnings.append(warning)


def _native(target: Target) -> str:
    interpreter = f"cp{target.python.replace('.', '')}"
    return f"{interpreter}-{interpreter}-linux_{MACHINES[target.platform]}"
