"""Environments: what a lock says, installed in a folder that becomes a layer.

An environment lies in the cache under the lock's digest, linked from uv's own cache, so that it costs no disk and the
next build with the same lock has it at once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
from flops_protocol.identifiers import uuid7

from flops_builder.image.bytecode import Compiler
from flops_builder.image.files import environment_members
from flops_builder.image.layer import Layer, LayerCache
from flops_builder.resolve.built import find_wheel, installable
from flops_builder.resolve.lock import Lock
from flops_builder.resolve.uv import Target, Uv

FORMAT = "1"
"""Part of every key of the cache: count it up when layers are written in another way."""
KEEP_ENVIRONMENTS = 8
KEEP_SECONDS = 3600.0


@dataclass(frozen=True)
class Workshop:
    """Installs environments and makes layers of them, each once."""

    uv: Uv
    layers: LayerCache
    folder: Path
    """The builder's cache."""
    compiler: Compiler | None
    """None: this machine has no Python of the minor, and layers go without byte code."""

    async def environment(
        self,
        name: str,
        lock: Lock,
        target: Target,
        extra: Sequence[tuple[str, Path]],
        on_line: Callable[[str], None] | None = None,
    ) -> Environment:
        """The lock installed, with `extra` files (path within it, source), and with byte code.

        :raises FlopsError: FLOPS-B025, FLOPS-B040
        :raises OSError: when there is no room
        """
        key = self.key(name, lock, target, extra)
        place = self.folder / "environments" / key
        if not await anyio.Path(place).is_dir():
            await self._install(name, place, lock, target, extra, on_line)
        else:
            await anyio.to_thread.run_sync(os.utime, place)
        return Environment(name, key, place / "root")

    async def layer(
        self,
        name: str,
        lock: Lock,
        target: Target,
        extra: Sequence[tuple[str, Path]],
        environment: Environment | None = None,
    ) -> Layer:
        """The layer of this environment; it is installed only if the layer is not there yet.

        :raises FlopsError: as `environment`
        :raises OSError: when there is no room
        """
        found = await self.kept(name, lock, target, extra)
        if found is not None:
            return found
        key = self.key(name, lock, target, extra)
        environment = environment or await self.environment(name, lock, target, extra)
        members = await anyio.to_thread.run_sync(environment_members, environment.folder, name)
        return await anyio.to_thread.run_sync(self.layers.put, key, name, members)

    async def kept(self, name: str, lock: Lock, target: Target, extra: Sequence[tuple[str, Path]]) -> Layer | None:
        """The layer of this environment, if it is there; nothing is made."""
        return await anyio.to_thread.run_sync(self.layers.get, self.key(name, lock, target, extra), name)

    def key(self, name: str, lock: Lock, target: Target, extra: Sequence[tuple[str, Path]]) -> str:
        """What an environment and its layer are kept under: everything that they are made from."""
        digest = hashlib.sha256()
        for relative, source in extra:
            digest.update(f"{relative}\0".encode() + hashlib.sha256(source.read_bytes()).digest())
        compiled = self.compiler is not None
        parts = (FORMAT, name, lock.digest, str(target), target.glibc, digest.hexdigest(), compiled)
        return f"{name}-{hashlib.sha256(repr(parts).encode()).hexdigest()}"

    async def install(
        self, lock: Lock, target: Target, folder: Path, scratch: Path, on_line: Callable[[str], None] | None = None
    ) -> None:
        """Exactly what a lock says, into a folder, with the wheels that were built from source on this machine.

        :raises KeyError: when one of those is not there
        :raises FlopsError: FLOPS-B025, FLOPS-B040
        """
        text = await anyio.to_thread.run_sync(installable, lock, self.built)
        if text:
            await self.uv.install(text, target, folder, scratch, on_line=on_line)

    @property
    def built_wheels(self) -> Path:
        """The cache of wheels that were built from source."""
        return self.folder / "wheels"

    def built(self, sha256: str) -> Path | None:
        """The wheel with these bytes that was built from source on this machine, if there is one."""
        return find_wheel(self.built_wheels, sha256)

    async def _install(
        self,
        name: str,
        place: Path,
        lock: Lock,
        target: Target,
        extra: Sequence[tuple[str, Path]],
        on_line: Callable[[str], None] | None,
    ) -> None:
        async with appearing(place) as new:
            await anyio.Path(new / "root").mkdir()
            await self.install(lock, target, new / "root", new, on_line)
            await anyio.to_thread.run_sync(copy_files, extra, new / "root")
            if self.compiler is not None:
                compiled = await self.compiler.compile(new / "root", name)
                await anyio.to_thread.run_sync(link_bytecode, compiled, new / "root")


@asynccontextmanager
async def appearing(place: Path) -> AsyncIterator[Path]:
    """A new folder that is renamed to `place` when the block is done, and of which nothing is left when it fails."""
    new = place.parent / f".{uuid7()}"
    try:
        await anyio.Path(new).mkdir(parents=True)
        yield new
        try:
            await anyio.Path(new).rename(place)
        except OSError:
            if not await anyio.Path(place).is_dir():  # another builder may have been faster with the same
                raise
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(lambda: shutil.rmtree(new, ignore_errors=True))


@dataclass(frozen=True)
class Environment:
    """An environment that is installed."""

    name: str
    key: str
    folder: Path
    """Where Python finds its packages."""
    prefix: Path | None = None
    """The conda prefix that it is a part of."""
    python: Path | None = None
    """The interpreter that it brings."""


def copy_files(extra: Sequence[tuple[str, Path]], folder: Path) -> None:
    """Copies files into an environment: their path within it, and where they are."""
    for relative, source in extra:
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # it may be a link into uv's cache
        shutil.copyfile(source, target)


def link_bytecode(compiled: Mapping[str, Path], root: Path) -> None:
    """Puts compiled files, by their path, in the place of all byte code that an environment has."""
    for shipped in list(root.rglob("__pycache__")):
        shutil.rmtree(shipped)  # byte code that came in a wheel says nothing about which Python made it
    for relative, source in compiled.items():
        target = root / relative
        target.parent.mkdir(exist_ok=True)
        os.link(source, target)


def prune(folder: Path) -> None:
    """Removes environments beyond the newest few that nobody used for an hour, and what killed builders left."""
    if not folder.is_dir():
        return
    now = time.time()
    ages: Mapping[Path, float] = {each: now - each.stat().st_mtime for each in folder.iterdir()}
    whole = sorted((each for each in ages if not each.name.startswith(".")), key=ages.__getitem__)
    stale = [*whole[KEEP_ENVIRONMENTS:], *(each for each in ages if each.name.startswith("."))]
    for each in stale:
        if ages[each] > KEEP_SECONDS:
            shutil.rmtree(each, ignore_errors=True)
