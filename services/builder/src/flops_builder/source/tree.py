"""The files of the commit, written out by us: with limits, without links that leave the tree, without submodules."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import anyio
from flops_protocol.errors import FlopsError

from flops_builder.settings import BuilderSettings
from flops_builder.source.git import Store

MAX_PATH = 500
FILE, EXECUTABLE, LINK, SUBMODULE = "100644", "100755", "120000", "160000"
LFS_POINTER = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True)
class Entry:
    """One file of the tree; `path` is relative, with slashes."""

    mode: str
    name: str
    size: int
    path: str


@dataclass(frozen=True)
class Tree:
    """The files as they were written out."""

    folder: Path
    files: int
    bytes: int
    notices: list[str]


async def write_tree(store: Store, commit: str, folder: Path, settings: BuilderSettings) -> Tree:
    """Writes the commit's files into `folder`, which is created.

    :raises FlopsError: FLOPS-B003 when there are none, FLOPS-B005 when a limit is passed or a link leaves the tree
    """
    entries = await _entries(store, commit)
    notices = [f"submodule {entry.path} was left out" for entry in entries if entry.mode == SUBMODULE]
    entries = [entry for entry in entries if entry.mode != SUBMODULE]
    if not entries:
        raise FlopsError("FLOPS-B003", f"commit {commit[:12]} has no files")
    _check_limits(entries, settings)
    contents = store.folder / "contents"
    names = "".join(f"{entry.name}\n" for entry in entries)
    await _read_from(store, ["cat-file", "--batch", "--buffer"], contents, names.encode())
    pointers = await anyio.to_thread.run_sync(_write, entries, contents, folder)
    await anyio.Path(contents).unlink()
    notices += [f"{path} is a pointer to a big file that was not fetched (Git LFS)" for path in pointers]
    return Tree(folder, len(entries), sum(entry.size for entry in entries), notices)


async def _read_from(store: Store, arguments: list[str], file: Path, stdin: bytes = b"") -> None:
    finished = await store.git(*arguments, stdin=stdin, output_file=file)
    if finished.returncode != 0:
        raise FlopsError("FLOPS-B008", f"git {arguments[0]}: {finished.errors.strip()[-400:]}")


async def _entries(store: Store, commit: str) -> list[Entry]:
    listing = store.folder / "listing"
    await _read_from(store, ["ls-tree", "-r", "-l", "-z", "--full-tree", commit], listing)
    entries = []
    for line in (await anyio.Path(listing).read_bytes()).decode(errors="surrogateescape").split("\0"):
        if line:
            meta, _, path = line.partition("\t")
            mode, _, name, size = meta.split()
            entries.append(Entry(mode, name, 0 if size == "-" else int(size), path))
    return entries


def _check_limits(entries: list[Entry], settings: BuilderSettings) -> None:
    if len(entries) > settings.max_files:
        raise FlopsError("FLOPS-B005", f"it has {len(entries)} files; {settings.max_files} are allowed")
    total = sum(entry.size for entry in entries)
    if total > settings.max_repository_bytes:
        raise FlopsError(
            "FLOPS-B005",
            f"its files are {total // 1_000_000} MB; {settings.max_repository_bytes // 1_000_000} MB are allowed",
        )
    for entry in entries:
        if entry.size > settings.max_file_bytes:
            raise FlopsError(
                "FLOPS-B005",
                f"it is {entry.size // 1_000_000} MB; {settings.max_file_bytes // 1_000_000} MB are allowed",
                file=entry.path,
            )
        parts = entry.path.split("/")
        if len(entry.path) > MAX_PATH or any(part in {"", ".", ".."} or part.lower() == ".git" for part in parts):
            raise FlopsError(
                "FLOPS-B005", f"{entry.path[:100]!r} is no path that can be written", file=entry.path[:200]
            )


def _write(entries: list[Entry], contents: Path, folder: Path) -> list[str]:
    """Writes the files in the order of `contents` (git-cat-file(1), "BATCH OUTPUT"); returns the LFS pointers."""
    folder.mkdir(parents=True)
    links = {entry.path for entry in entries if entry.mode == LINK}
    pointers = []
    with contents.open("rb") as stream:
        for entry in entries:
            stream.readline()
            blob = stream.read(entry.size)
            stream.read(1)
            if any(str(parent) in links for parent in PurePosixPath(entry.path).parents):
                raise FlopsError("FLOPS-B005", "it lies behind a link", file=entry.path)
            file = folder / entry.path
            file.parent.mkdir(parents=True, exist_ok=True)
            if entry.mode == LINK:
                file.symlink_to(_link_target(entry.path, blob))
            else:
                file.write_bytes(blob)
                file.chmod(0o755 if entry.mode == EXECUTABLE else 0o644)
            if blob.startswith(LFS_POINTER):
                pointers.append(entry.path)
    return pointers


def _link_target(path: str, blob: bytes) -> str:
    target = blob.decode(errors="surrogateescape")
    end = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    if target.startswith("/") or end == ".." or end.startswith("../"):
        raise FlopsError("FLOPS-B005", f"the link to {target!r} leaves the repository", file=path)
    return target
