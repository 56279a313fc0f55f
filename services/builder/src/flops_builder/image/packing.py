"""Layers as they go into a registry: as they are into a folder on this machine, compressed for a registry elsewhere.

A compressed layer is kept by the digest of what was compressed, so that it is made once on a machine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import anyio
from flops_protocol.identifiers import Digest, uuid7
from flops_registry.compression import FORMATS, MEDIA_TYPES, Compressed, Compression, compress
from flops_registry.documents import LAYER_TYPE

from flops_builder.image.layer import KEEP_SECONDS, Layer


@dataclass(frozen=True)
class Packed:
    """A layer's bytes in a registry."""

    digest: Digest
    size: int
    media_type: str
    file: Path


@dataclass(frozen=True)
class Packer:
    """Packs the layers of one build, each once. Several builders may use one folder at once."""

    folder: Path
    compression: Compression | None
    """None: layers stay as they are."""
    _turns: dict[Digest, anyio.Lock] = field(default_factory=dict)
    # One after the other: each of them has all cores.
    _machine: anyio.Lock = field(default_factory=anyio.Lock)

    async def pack(self, layer: Layer, file: Path) -> Packed:
        """The layer whose uncompressed bytes are in `file`.

        :raises OSError: when there is no room
        """
        if self.compression is None:
            return Packed(layer.digest, layer.size, LAYER_TYPE, file)
        async with self._turns.setdefault(layer.digest, anyio.Lock()):
            kept = await anyio.to_thread.run_sync(self._get, layer.digest)
            if kept is None:
                async with self._machine:
                    kept = await anyio.to_thread.run_sync(self._make, layer.digest, file, self.compression)
            return kept

    def prune(self) -> None:
        """Removes what nobody used for two weeks, and what killed builders left."""
        now = time.time()
        for path in self.folder.glob("*/*"):
            if now - path.stat().st_mtime > KEEP_SECONDS:
                path.unlink(missing_ok=True)

    def _get(self, digest: Digest) -> Packed | None:
        path = self._path(digest)
        try:
            known: Mapping[str, object] = json.loads(path.with_suffix(".json").read_text())
            packed = self._packed(Compressed(**known), path)  # type: ignore[arg-type]
            if path.stat().st_size != packed.size:
                return None
        except (FileNotFoundError, ValueError, TypeError):
            return None  # nothing usable is there: it is made anew
        for each in (path, path.with_suffix(".json")):
            each.touch()
        return packed

    def _make(self, digest: Digest, file: Path, compression: Compression) -> Packed:
        path = self._path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{uuid7()}")
        record = path.with_name(f".{uuid7()}.json")
        try:
            compressed = compress(file, new, compression)
            record.write_text(json.dumps(asdict(compressed)))
            new.replace(path)
            record.replace(path.with_suffix(".json"))
        finally:
            new.unlink(missing_ok=True)
            record.unlink(missing_ok=True)
        return self._packed(compressed, path)

    def _packed(self, compressed: Compressed, path: Path) -> Packed:
        assert self.compression is not None  # noqa: S101 - `pack` has looked
        return Packed(compressed.digest, compressed.size, MEDIA_TYPES[self.compression], path)

    def _path(self, digest: Digest) -> Path:
        name = FORMATS[self.compression] if self.compression else "plain"
        return self.folder / name / digest.removeprefix("sha256:")
