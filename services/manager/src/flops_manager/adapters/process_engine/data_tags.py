"""What lies in a node's data folder, from the footers of its Parquet files: counts and columns, never a row."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread
import structlog
from flops_protocol.messages.mesh import DataTag
from pydantic import BaseModel, TypeAdapter, ValidationError

log = structlog.get_logger(__name__)

READ_SECONDS = 60


class Footer(BaseModel):
    """What a file says of itself."""

    rows: int
    columns: dict[str, str]


class _Known(BaseModel):
    modified: int
    size: int
    footer: Footer | None


@dataclass(frozen=True)
class _File:
    tag: str
    path: str
    modified: int
    size: int


_Book = TypeAdapter(dict[str, _Known])
_Footers = TypeAdapter(list[Footer | None])


class DataFolder:
    """`{tag}/*.parquet`. A file is read when its size or time is new; what was read is remembered in `book`."""

    def __init__(self, folder: Path, book: Path) -> None:
        """Neither needs to be there yet."""
        self._folder = folder
        self._book = book
        self._known: dict[str, _Known] | None = None

    async def scan(self) -> list[DataTag]:
        """The tags, by name. A file that is no Parquet is left out, and said so once. One scan at a time."""
        if self._known is None:
            self._known = await anyio.to_thread.run_sync(self._remembered)
        tags, files = await anyio.to_thread.run_sync(self._list)
        fresh = [file for file in files if not self._knows(file)]
        if fresh:
            for file, footer in zip(fresh, await _read([file.path for file in fresh]), strict=True):
                self._known[file.path] = _Known(modified=file.modified, size=file.size, footer=footer)
        there = {file.path for file in files}
        if fresh or there != self._known.keys():
            self._known = {path: known for path, known in self._known.items() if path in there}
            await anyio.to_thread.run_sync(self._remember)
        return [self._tag(tag, [file for file in files if file.tag == tag]) for tag in tags]

    def _knows(self, file: _File) -> bool:
        known = (self._known or {}).get(file.path)
        return known is not None and (known.modified, known.size) == (file.modified, file.size)

    def _list(self) -> tuple[list[str], list[_File]]:
        tags: list[str] = []
        files: list[_File] = []
        try:
            folders = sorted(entry for entry in self._folder.iterdir() if entry.is_dir() and entry.name[0] != ".")
        except OSError:
            return tags, files
        for folder in folders:
            tags.append(folder.name)
            for path in sorted(folder.glob("*.parquet")):
                try:
                    stat = path.stat()
                except OSError:
                    continue  # It was taken away just now.
                files.append(_File(folder.name, str(path), stat.st_mtime_ns, stat.st_size))
        return tags, files

    def _tag(self, tag: str, files: list[_File]) -> DataTag:
        known = self._known or {}
        readable = [(file, footer) for file in files if (footer := known[file.path].footer) is not None]
        columns: dict[str, str] = {}
        for _, footer in readable:
            columns = footer.columns | columns
        return DataTag(
            tag=tag,
            files=len(readable),
            rows=sum(footer.rows for _, footer in readable),
            bytes=sum(file.size for file, _ in readable),
            columns=columns,
        )

    def _remembered(self) -> dict[str, _Known]:
        try:
            return _Book.validate_json(self._book.read_bytes())
        except (OSError, ValidationError):
            return {}  # Then everything is read again.

    def _remember(self) -> None:
        self._book.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._book.with_suffix(".new")
        fresh.write_bytes(_Book.dump_json(self._known or {}))
        fresh.replace(self._book)


async def _read(paths: list[str]) -> list[Footer | None]:
    """The footers of files; None for each that cannot be read, or for all when reading them takes too long."""
    command = [sys.executable, "-m", "flops_manager.adapters.process_engine.footers"]
    try:
        with anyio.fail_after(READ_SECONDS):
            done = await anyio.run_process(command, input="\0".join(paths).encode(), check=False)
        footers = _Footers.validate_python(json.loads(done.stdout))
    except (TimeoutError, OSError, ValueError) as error:
        log.warning("the data files cannot be read", files=len(paths), error=f"{type(error).__name__}: {error}")
        return [None] * len(paths)
    for complaint in done.stderr.decode(errors="replace").splitlines():
        log.warning("a data file cannot be read", error=complaint)
    return footers
