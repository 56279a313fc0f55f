"""What lies in a node's data folder, from the footers of its Parquet files: counts and columns, never a row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import structlog
from flops_protocol.messages.mesh import DataTag

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Footer:
    rows: int
    columns: dict[str, str]


class DataFolder:
    """`{tag}/*.parquet`. A file is read again only when its size or time has changed. Call it from one thread."""

    def __init__(self, folder: Path) -> None:
        """The folder need not be there yet."""
        self._folder = folder
        self._known: dict[tuple[Path, int, int], _Footer | None] = {}

    def scan(self) -> list[DataTag]:
        """The tags, by name. A file that is no Parquet is left out, and said so once."""
        seen: dict[tuple[Path, int, int], _Footer | None] = {}
        tags = [self._tag(folder, seen) for folder in sorted(self._subfolders())]
        self._known = seen
        return tags

    def _subfolders(self) -> list[Path]:
        try:
            return [entry for entry in self._folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
        except OSError:
            return []

    def _tag(self, folder: Path, seen: dict[tuple[Path, int, int], _Footer | None]) -> DataTag:
        files = rows = size = 0
        columns: dict[str, str] = {}
        for path in sorted(folder.glob("*.parquet")):
            try:
                stat = path.stat()
            except OSError:
                continue
            key = (path, stat.st_mtime_ns, stat.st_size)
            footer = self._known[key] if key in self._known else _read(path)
            seen[key] = footer
            if footer is None:
                continue
            files += 1
            rows += footer.rows
            size += stat.st_size
            columns = footer.columns | columns
        return DataTag(tag=folder.name, files=files, rows=rows, bytes=size, columns=columns)


def _read(path: Path) -> _Footer | None:
    # Imported with the first file: it takes longer than everything else that the manager imports.
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            columns = {field.name: str(field.type) for field in file.schema_arrow}
            return _Footer(file.metadata.num_rows, columns)
    except (OSError, ArrowException) as error:
        log.warning("a data file cannot be read", file=str(path), error=str(error))
        return None
