"""From a layer in a registry to a folder on this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread
import structlog
from flops_protocol.identifiers import Digest, uuid7
from flops_registry.compression import decompress, is_compressed
from flops_registry.documents import Descriptor, digest_of
from flops_registry.interface import Registry

from flops_manager.adapters.process_engine.folders import EngineFolder
from flops_manager.adapters.process_engine.layers import unpack, unpacked

TELL_SECONDS = 2.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Source:
    """One repository of a registry, and where its layers go."""

    registry: Registry
    repository: str
    folder: EngineFolder

    async def manifest(self, digest: Digest) -> bytes:
        """An index or a manifest. What was read once is kept: an actor starts again though the registry is away.

        :raises FlopsError: FLOPS-B041, FLOPS-B046 when the registry does not give it
        :raises OSError: when there is no room
        """
        return await self._kept(digest, self.registry.manifest)

    async def content(self, digest: Digest) -> bytes:
        """A configuration, likewise."""
        return await self._kept(digest, self.registry.content)

    async def _kept(self, digest: Digest, ask: Callable[[str, Digest], Awaitable[bytes]]) -> bytes:
        file = self.folder.documents / digest.removeprefix("sha256:")
        kept = await anyio.to_thread.run_sync(_read, file, digest)
        if kept is None:
            kept = await ask(self.repository, digest)
            await anyio.to_thread.run_sync(_keep, file, kept)
        return kept

    async def unpack(self, diff_id: Digest, layer: Descriptor) -> Path:
        """The layer, unpacked; it is fetched only where it is not there yet, however it is compressed.

        :raises FlopsError: FLOPS-B041, FLOPS-B046 when the registry does not give it
        :raises BadLayerError: when it cannot be trusted
        :raises ValueError: when it is not compressed as it says
        :raises OSError: when there is no room
        """
        there = await anyio.to_thread.run_sync(unpacked, diff_id, self.folder.layers)
        if there is not None:
            return there
        meter = _Meter(self.repository, layer)
        blob = await self.registry.blob(self.repository, layer, self.folder.blobs, meter.count)
        meter.end()
        made = await anyio.to_thread.run_sync(self._unpack, blob, diff_id, layer)
        if blob.parent == self.folder.blobs:
            await anyio.Path(blob).unlink(missing_ok=True)
        return made

    def _unpack(self, blob: Path, diff_id: Digest, layer: Descriptor) -> Path:
        folder = self.folder
        if not is_compressed(layer.media_type):
            return unpack(blob, diff_id, folder.layers, folder.new)
        folder.new.mkdir(parents=True, exist_ok=True)
        plain = folder.new / f"plain-{uuid7()}.tar"
        try:
            decompress(blob, plain, layer.media_type)
            return unpack(plain, diff_id, folder.layers, folder.new)
        finally:
            plain.unlink(missing_ok=True)


def _read(file: Path, digest: Digest) -> bytes | None:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    if digest_of(content) != digest:
        return None  # the machine went down while it was written
    os.utime(file)
    return content


def _keep(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{uuid7()}")
    new.write_bytes(content)
    new.replace(file)


class _Meter:
    """Tells the log how far a layer has come; nothing, where it need not come from anywhere."""

    def __init__(self, repository: str, layer: Descriptor) -> None:
        self._log = log.bind(repository=repository, layer=layer.digest[:19], bytes=layer.size)
        self._size = max(1, layer.size)
        self._done = 0
        self._began = self._told = time.monotonic()

    def count(self, arrived: int) -> None:
        self._done += arrived
        if time.monotonic() - self._told >= TELL_SECONDS:
            self._told = time.monotonic()
            self._log.info("a layer is pulled", percent=round(100 * self._done / self._size))

    def end(self) -> None:
        if self._done:
            self._log.info("a layer was pulled", seconds=round(time.monotonic() - self._began, 2))
