"""Layers: unpacked once each, whoever needs them, and never outside of their own folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from io import BufferedReader
from pathlib import Path, PurePosixPath

from flops_manager.adapters.process_engine.machine import boot_id

IMAGE_ROOT = PurePosixPath("opt/flops")
"""Where the layers of our images keep everything. What else an image has (a base image's system) the host has, too."""
_ROOT_PARTS = list(IMAGE_ROOT.parts)
CHUNK = 1024 * 1024
BIG = 256 * 1024
COPIERS = 2
"""Big files are copied beside the walk through the archive: what costs time there is memory for what is written."""
DISK_SECONDS = 300
"""After how long everything that was written is on the disk: ten times what Linux waits by default."""


class BadLayerError(Exception):
    """Raised when a layer is not what its digest says, or tries to write outside of its folder."""


def unpacked(digest: str, into: Path) -> Path | None:
    """The layer that `unpack` has made, if it is there."""
    target = into / digest.removeprefix("sha256:")
    if not _is_whole(target):
        return None
    os.utime(target)  # in use: it may be in no image yet
    return target


def unpack(blob: Path, digest: str, into: Path, scratch: Path) -> Path:
    """The unpacked layer, `into/{digest}`; what is there already is taken as it is. `blob` is not compressed.

    It comes into being by one rename: whoever sees it sees all of it, and two who unpack it at once do not meet.

    :param scratch: a folder on the same file system
    :raises BadLayerError: when it cannot be trusted
    :raises OSError: when it cannot be read or written
    """
    there = unpacked(digest, into)
    if there is not None:
        return there
    target = into / digest.removeprefix("sha256:")
    into.mkdir(parents=True, exist_ok=True)
    scratch.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix="layer-", dir=scratch))
    try:
        # Both read all of it: at the same time, each on a core of its own. It counts only when both are content.
        with ThreadPoolExecutor(1) as hasher:
            found = hasher.submit(_digest, blob)
            with blob.open("rb") as raw:
                _extract(raw, fresh)
            if found.result() != digest:
                raise BadLayerError(f"{digest} has other bytes than its digest says")
        fresh.chmod(0o755)
        _mark(target).write_text(boot_id())
        try:
            fresh.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return target


def _mark(target: Path) -> Path:
    """Says in which run of the machine a layer was unpacked, until it is on the disk for certain."""
    return target.with_suffix(".boot")


def _is_whole(target: Path) -> bool:
    """Whether a layer is there. One that the machine went down after is not: its files may be empty.

    To wait for the disk instead would take longer than unpacking it.
    """
    if not target.is_dir():
        return False
    try:
        mark = _mark(target)
        boot, age = mark.read_text(), time.time() - mark.stat().st_mtime
    except FileNotFoundError:
        return True
    if boot != boot_id():
        shutil.rmtree(target)
        return False
    if age > DISK_SECONDS:
        mark.unlink(missing_ok=True)
    return True


def _digest(blob: Path) -> str:
    with blob.open("rb") as raw:
        return f"sha256:{hashlib.file_digest(raw, 'sha256').hexdigest()}"


def _extract(raw: BufferedReader, root: Path) -> None:
    """Written for many small files: names are handled as text, and a file costs no call more than it must."""
    tree = _Tree(str(root))
    copies: list[Future[None]] = []
    try:
        with ThreadPoolExecutor(COPIERS) as copiers, tarfile.open(fileobj=raw, mode="r:*") as archive:
            # Uncompressed, the kernel can copy from file to file.
            plain = raw.fileno() if archive.fileobj is raw else None
            for member in archive:
                inside = _inside(member.name)
                if inside is None:
                    continue
                if member.isdir():
                    tree.make_folder(inside, member.name)
                elif member.isreg() and plain is not None and member.size >= BIG and not member.issparse():
                    path = tree.write(inside, member, lambda _member, _file: None)
                    copies.append(copiers.submit(_fill, path, plain, member))
                elif member.isreg():
                    copied = partial(_copy, plain) if plain is not None and not member.issparse() else None
                    tree.write(inside, member, copied or partial(_read, archive))
                elif member.issym():
                    tree.symlink(inside, member)
                elif member.islnk():
                    tree.link(inside, member)
                else:
                    raise BadLayerError(f"{member.name} is neither a file, a folder nor a link")
        for copy in copies:
            copy.result()
    except tarfile.TarError as error:
        raise BadLayerError(f"it is no tar archive that can be read: {error}") from error


def _inside(name: str) -> str | None:
    """The name below the image root, or None when it is elsewhere in the image.

    :raises BadLayerError: when it leads outside of the image
    """
    if name.startswith("/") or "\0" in name or ".." in name.split("/"):
        raise BadLayerError(f"{name!r} leads outside")
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if len(parts) <= len(_ROOT_PARTS) or parts[: len(_ROOT_PARTS)] != _ROOT_PARTS:
        return None
    return "/".join(parts[len(_ROOT_PARTS) :])


class _Tree:
    """The folder that a layer is unpacked into. Nothing in it is ever followed or written twice."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._folders = {""}
        self._links: set[str] = set()

    def make_folder(self, inside: str, name: str) -> None:
        """A folder and those above it, where they are not there yet."""
        if inside in self._folders:
            return
        parent = inside.rpartition("/")[0]
        self.make_folder(parent, name)
        if inside in self._links:
            raise BadLayerError(f"{name} lies behind a symbolic link")
        try:
            os.mkdir(f"{self._root}/{inside}", 0o755)  # noqa: PTH102 - thousands of them
        except FileExistsError:
            raise BadLayerError(f"{name} is there twice") from None
        self._folders.add(inside)

    def write(self, inside: str, member: tarfile.TarInfo, fill: Callable[[tarfile.TarInfo, int], None]) -> str:
        """A file with its bytes, which `fill` writes, its time, and whether it can be run. Returns its path."""
        path = self._new(inside, member.name)
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755 if member.mode & 0o100 else 0o644)
        except FileExistsError:
            raise BadLayerError(f"{member.name} is there twice") from None
        try:
            fill(member, file)
            # Python compares the times of sources with those in their .pyc files.
            os.utime(file, (member.mtime, member.mtime))
        finally:
            os.close(file)
        return path

    def symlink(self, inside: str, member: tarfile.TarInfo) -> None:
        """A symbolic link to something in the layer; it is never followed here."""
        _stay_inside(member, PurePosixPath(inside).parent / member.linkname)
        try:
            os.symlink(member.linkname, self._new(inside, member.name))  # noqa: PTH211
        except FileExistsError:
            raise BadLayerError(f"{member.name} is there twice") from None
        self._links.add(inside)

    def link(self, inside: str, member: tarfile.TarInfo) -> None:
        """A hard link to a file of the layer that was there before."""
        other = _inside(member.linkname)
        if other is None or not self._links.isdisjoint(_and_above(other)):
            raise BadLayerError(f"{member.name} is a link to {member.linkname}, outside")
        try:
            os.link(f"{self._root}/{other}", self._new(inside, member.name))
        except FileExistsError:
            raise BadLayerError(f"{member.name} is there twice") from None

    def _new(self, inside: str, name: str) -> str:
        self.make_folder(inside.rpartition("/")[0], name)
        return f"{self._root}/{inside}"


def _fill(path: str, archive: int, member: tarfile.TarInfo) -> None:
    """The bytes of a file that is there, but empty. By its path: hundreds of open files would be too many."""
    file = os.open(path, os.O_WRONLY)
    try:
        _copy(archive, member, file)
        os.utime(file, (member.mtime, member.mtime))
    finally:
        os.close(file)


def _copy(archive: int, member: tarfile.TarInfo, file: int) -> None:
    offset, left = member.offset_data, member.size
    while left:
        copied = os.sendfile(file, archive, offset, left)
        if copied == 0:
            raise BadLayerError(f"{member.name} is cut off")
        offset += copied
        left -= copied


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo, file: int) -> None:
    source = archive.extractfile(member)
    assert source is not None  # noqa: S101 - regular files have content
    while chunk := source.read(CHUNK):
        view = memoryview(chunk)
        while view:
            view = view[os.write(file, view) :]


def _and_above(inside: str) -> list[str]:
    parts = inside.split("/")
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def _stay_inside(member: tarfile.TarInfo, pointed: PurePosixPath) -> None:
    """A link may point at what is beside it in the layer, not above."""
    depth = 0
    outside = pointed.is_absolute()
    for part in pointed.parts:
        depth += -1 if part == ".." else 1
        outside = outside or depth < 0
    if outside:
        raise BadLayerError(f"{member.name} is a link to {member.linkname}, outside")


def compose(layers: list[Path], digest: str, into: Path, scratch: Path) -> Path:
    """The image root: a symbolic link for each folder of each layer.

    :raises BadLayerError: when two layers have a folder of the same name
    :raises OSError: when it cannot be written
    """
    target = into / digest.removeprefix("sha256:")
    wanted: dict[str, Path] = {}
    for layer in layers:
        for part in sorted(layer.iterdir()):
            if part.name in wanted:
                raise BadLayerError(f"two layers have the folder {part.name}")
            wanted[part.name] = part
    if target.is_dir():
        return target
    into.mkdir(parents=True, exist_ok=True)
    scratch.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix="image-", dir=scratch))
    try:
        for name, part in wanted.items():
            (fresh / name).symlink_to(_relative(part, target))
        fresh.chmod(0o755)
        try:
            fresh.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return target


def _relative(path: Path, start: Path) -> str:
    """Relative, so that the engine's folder may be moved."""
    return os.path.relpath(path.absolute(), start.absolute())
