"""Layers: reproducible tar archives, written and hashed in one go, kept by what they were made from."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from io import BytesIO, FileIO
from pathlib import Path
from typing import BinaryIO

from flops_protocol.identifiers import Digest, uuid7

from flops_builder.image.files import Member

CHUNK = 1024 * 1024
BLOCK = 512
OCTAL_LIMIT = 8**11 - 1
KEEP_SECONDS = 14 * 86_400.0
GRACE_SECONDS = 86_400.0


@dataclass(frozen=True)
class Layer:
    """A layer that lies in the cache. Uncompressed, its digest is its diff ID (OCI image-spec, config.md)."""

    kind: str
    digest: Digest
    size: int


def write_tar(members: Iterable[Member], file: Path) -> tuple[Digest, int]:
    """Writes the members, sorted, with their folders, owned by root at time 0; returns digest and size.

    The same members give the same bytes. When two have the same name, the first counts.

    :raises OSError: when there is no room
    """
    by_name: dict[str, Member] = {}
    for member in members:
        by_name.setdefault(member.name, member)
    folders: set[str] = set()
    for name in by_name:
        parent = name.rpartition("/")[0]
        while parent and parent not in folders:
            folders.add(parent)
            parent = parent.rpartition("/")[0]
    with file.open("wb", buffering=CHUNK) as stream:
        sink = _Sink(stream)
        for name in sorted(folders | by_name.keys()):
            if name in folders:
                sink.write(header(name, tarfile.DIRTYPE, 0o755))
                continue
            member = by_name[name]
            if member.link is not None:
                sink.write(header(name, tarfile.SYMTYPE, 0o777, link=member.link))
            elif member.content is not None:
                sink.write_file(name, member.executable, BytesIO(member.content), len(member.content))
            elif member.file is not None:
                with open(member.file, "rb", buffering=0) as source:  # noqa: PTH123 - ten thousand times
                    sink.write_file(name, member.executable, source, os.fstat(source.fileno()).st_size)
        sink.write(b"\0" * (2 * BLOCK))
    return f"sha256:{sink.digest.hexdigest()}", sink.size


class _Sink:
    """Writes, hashes and counts."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self._stream.write(data)
        self.digest.update(data)
        self.size += len(data)

    def write_file(self, name: str, executable: bool, source: BinaryIO | FileIO, size: int) -> None:
        self.write(header(name, tarfile.REGTYPE, 0o755 if executable else 0o644, size))
        left = size
        while left and (chunk := source.read(min(CHUNK, left))):
            self.write(chunk)
            left -= len(chunk)
        if left:
            raise OSError(f"{name} became shorter while it was read")
        self.write(b"\0" * (-size % BLOCK))


def header(name: str, kind: bytes, mode: int, size: int = 0, link: str = "") -> bytes:
    """The header of a member: plain ustar (POSIX.1-1988) where that can say it, with a PAX header before it else."""
    raw = name.encode("utf-8", "surrogateescape") + (b"/" if kind == tarfile.DIRTYPE else b"")
    if len(raw) > 100 or not name.isascii() or link or size > OCTAL_LIMIT:
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.size, info.linkname = kind, mode, size, link
        return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    # tarfile takes ten times as long for the same bytes, and most of the time that small files take.
    block = b"%-100.100b%07o\0%07o\0%07o\0%011o\0%011o\0" % (raw + b"\0" * (100 - len(raw)), mode, 0, 0, size, 0)
    rest = kind + b"\0" * 100 + b"ustar\x0000"
    checksum = sum(block) + 8 * 32 + sum(rest)
    return (block + b"%06o\0 " % checksum + rest).ljust(BLOCK, b"\0")


@dataclass(frozen=True)
class LayerCache:
    """Layers of earlier builds on this machine. Several builders may use it at once."""

    folder: Path

    def get(self, key: str, kind: str) -> Layer | None:
        """The layer that was made under this key, if it is still whole."""
        try:
            record = self.folder / "keys" / key
            layer = Layer(**json.loads(record.read_text()))
            if self.path(layer.digest).stat().st_size == layer.size and layer.kind == kind:
                os.utime(record)
                return layer
        except (FileNotFoundError, ValueError, TypeError):
            pass  # nothing usable is there: it is made anew
        return None

    def put(self, key: str, kind: str, members: Iterable[Member]) -> Layer:
        """Writes the members as a layer and remembers it under the key. Nothing is left behind when it fails.

        :raises OSError: when there is no room
        """
        for folder in ("keys", "blobs/sha256", "incoming"):
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        new = self.folder / "incoming" / uuid7()
        record = self.folder / "incoming" / f"{uuid7()}.json"
        try:
            digest, size = write_tar(members, new)
            new.chmod(0o444)
            new.replace(self.path(digest))
            layer = Layer(kind, digest, size)
            record.write_text(json.dumps(asdict(layer)))
            record.replace(self.folder / "keys" / key)
        finally:
            new.unlink(missing_ok=True)
            record.unlink(missing_ok=True)
        return layer

    def prune(self) -> None:
        """Removes layers that nobody used for two weeks, and what killed builders left.

        A registry that has linked a layer keeps it.
        """
        now = time.time()
        used = set()
        for record in (self.folder / "keys").glob("*"):
            if now - record.stat().st_mtime > KEEP_SECONDS:
                record.unlink(missing_ok=True)
            else:
                used.add(Layer(**json.loads(record.read_text())).digest.removeprefix("sha256:"))
        for file in [*(self.folder / "blobs" / "sha256").glob("*"), *(self.folder / "incoming").glob("*")]:
            # A builder at work has written its blob, but not yet its record.
            if file.name not in used and now - file.stat().st_mtime > GRACE_SECONDS:
                file.unlink(missing_ok=True)

    def path(self, digest: Digest) -> Path:
        """Where a layer's bytes lie."""
        return self.folder / "blobs" / "sha256" / digest.removeprefix("sha256:")
