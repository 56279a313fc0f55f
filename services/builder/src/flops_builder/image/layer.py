"""Layers: reproducible tar archives, written and hashed in one go, kept by what they were made from."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from flops_protocol.identifiers import Digest, uuid7

from flops_builder.image.files import Member

MEDIA_TYPE = "application/vnd.oci.image.layer.v1.tar"
CHUNK = 1024 * 1024
BLOCK = 512


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
    digest = hashlib.sha256()
    size = 0
    with file.open("wb", buffering=CHUNK) as stream:

        def write(data: bytes) -> None:
            nonlocal size
            stream.write(data)
            digest.update(data)
            size += len(data)

        for name in sorted(folders | by_name.keys()):
            member = by_name.get(name, Member(name))
            if name in folders:
                write(_header(name, tarfile.DIRTYPE, 0o755))
            elif member.link is not None:
                write(_header(name, tarfile.SYMTYPE, 0o777, link=member.link))
            elif member.content is not None:
                _write_file(write, name, member.executable, BytesIO(member.content), len(member.content))
            elif member.file is not None:
                with member.file.open("rb") as source:
                    _write_file(write, name, member.executable, source, member.file.stat().st_size)
        write(b"\0" * (2 * BLOCK))
    return f"sha256:{digest.hexdigest()}", size


def _header(name: str, kind: bytes, mode: int, size: int = 0, link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.size, info.linkname = kind, mode, size, link
    try:
        # Plain ustar for nearly every name: a PAX header costs a block, and most of the time that headers take.
        return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
    except (ValueError, UnicodeError):
        return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _write_file(write: Callable[[bytes], None], name: str, executable: bool, source: BinaryIO, size: int) -> None:
    write(_header(name, tarfile.REGTYPE, 0o755 if executable else 0o644, size))
    left = size
    while left and (chunk := source.read(min(CHUNK, left))):
        write(chunk)
        left -= len(chunk)
    if left:
        raise OSError(f"{name} became shorter while it was read")
    write(b"\0" * (-size % BLOCK))


@dataclass(frozen=True)
class LayerCache:
    """Layers of earlier builds on this machine. Several builders may use it at once."""

    folder: Path

    def get(self, key: str, kind: str) -> Layer | None:
        """The layer that was made under this key, if it is still whole."""
        try:
            layer = Layer(**json.loads((self.folder / "keys" / key).read_text()))
            if self.path(layer.digest).stat().st_size == layer.size and layer.kind == kind:
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

    def path(self, digest: Digest) -> Path:
        """Where a layer's bytes lie."""
        return self.folder / "blobs" / "sha256" / digest.removeprefix("sha256:")
