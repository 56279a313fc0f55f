"""Layers: unpacked once each, whoever needs them, and never outside of their own folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import IO

IMAGE_ROOT = PurePosixPath("opt/flops")
"""Where the layers of our images keep everything. What else an image has (a base image's system) the host has, too."""
CHUNK = 1024 * 1024


class BadLayerError(Exception):
    """Raised when a layer is not what its digest says, or tries to write outside of its folder."""


def unpack(blob: Path, digest: str, into: Path, scratch: Path) -> Path:
    """The unpacked layer, `into/{digest}`; what is there already is taken as it is.

    It comes into being by one rename: whoever sees it sees all of it, and two who unpack it at once do not meet.

    :param scratch: a folder on the same file system
    :raises BadLayerError: when it cannot be trusted
    :raises OSError: when it cannot be read or written
    """
    target = into / digest.removeprefix("sha256:")
    if target.is_dir():
        return target
    into.mkdir(parents=True, exist_ok=True)
    scratch.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix="layer-", dir=scratch))
    try:
        _check(blob, digest)
        with blob.open("rb") as raw:
            _extract(raw, fresh)
        fresh.chmod(0o755)
        try:
            fresh.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return target


def _check(blob: Path, digest: str) -> None:
    found = hashlib.sha256()
    with blob.open("rb") as raw:
        while chunk := raw.read(CHUNK):
            found.update(chunk)
    if f"sha256:{found.hexdigest()}" != digest:
        raise BadLayerError(f"{digest} has other bytes than its digest says")


def _extract(raw: IO[bytes], root: Path) -> None:
    links: set[PurePosixPath] = set()
    try:
        with tarfile.open(fileobj=raw, mode="r:*") as archive:
            for member in archive:
                name = _name(member.name)
                if IMAGE_ROOT not in name.parents:
                    continue
                inside = name.relative_to(IMAGE_ROOT)
                if links.intersection(inside.parents):
                    raise BadLayerError(f"{member.name} lies behind a symbolic link")
                _place(archive, member, inside, root, links)
    except tarfile.TarError as error:
        raise BadLayerError(f"it is no tar archive that can be read: {error}") from error


def _name(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise BadLayerError(f"{name!r} leads outside")
    return path


def _place(
    archive: tarfile.TarFile, member: tarfile.TarInfo, inside: PurePosixPath, root: Path, links: set[PurePosixPath]
) -> None:
    target = root / inside
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    if inside in links or target.exists():
        raise BadLayerError(f"{member.name} is there twice")
    target.parent.mkdir(parents=True, exist_ok=True)
    if member.isreg():
        source = archive.extractfile(member)
        assert source is not None  # noqa: S101 - regular files have content
        with source, target.open("wb") as file:
            shutil.copyfileobj(source, file, CHUNK)
        target.chmod(0o755 if member.mode & 0o100 else 0o644)
        # Python compares the times of sources with those in their .pyc files.
        os.utime(target, (member.mtime, member.mtime))
    elif member.issym():
        _stay_inside(member, inside.parent / member.linkname)
        target.symlink_to(member.linkname)
        links.add(inside)
    elif member.islnk():
        other = _name(member.linkname)
        if IMAGE_ROOT not in other.parents or links.intersection(
            (other.relative_to(IMAGE_ROOT), *other.relative_to(IMAGE_ROOT).parents)
        ):
            raise BadLayerError(f"{member.name} is a link to {member.linkname}, outside")
        os.link(root / other.relative_to(IMAGE_ROOT), target)
    else:
        raise BadLayerError(f"{member.name} is neither a file, a folder nor a link")


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
