"""Adding files to a node's data folder, and listing what is there."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flops_protocol.errors import FlopsError

_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True)
class DataFile:
    """A Parquet file under a tag: counts and column types, no rows."""

    tag: str
    file: str
    rows: int
    columns: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


def check_tag(tag: str) -> None:
    """Whether a tag can be a folder's name.

    :raises ValueError: when it cannot
    """
    if _TAG.fullmatch(tag) is None:
        raise ValueError(f"{tag!r} is no tag: letters, digits, dots, underscores and hyphens, at most 63")


def add(data: Path, tag: str, files: Iterable[Path]) -> list[DataFile]:
    """Adds files under a tag: all of them, or none when one cannot be read.

    A file of the same name is replaced; other columns than those that the tag has are refused.

    :raises FlopsError: FLOPS-P014 when a file cannot be read, or does not fit the others
    """
    # Imported here: Arrow takes longer to import than most commands take to run.
    from flops_cli.adapters import arrow

    check_tag(tag)
    tables = {path: arrow.read(path) for path in files}
    folder = data / tag
    there = {entry.file: entry.columns for entry in listing(data, tag)}
    added: list[DataFile] = []
    for path, table in tables.items():
        name = f"{path.resolve().stem}.parquet"
        columns = {column: str(table.schema.field(column).type) for column in table.schema.names}
        others = {file: known for file, known in there.items() if file != name}
        for file, known in others.items():
            if known != columns:
                detail = f"{path} has the columns {columns}; {file}, under the same tag, has {known}"
                raise FlopsError("FLOPS-P014", detail, hint="Give it another tag.", file=str(path))
        if name in {entry.file for entry in added}:
            raise FlopsError("FLOPS-P014", f"Two of the files would become {tag}/{name}", file=str(path))
        added.append(DataFile(tag, name, table.num_rows, columns))
        there[name] = columns
    folder.mkdir(parents=True, exist_ok=True)
    for path, table in tables.items():
        arrow.write(table, folder / f"{path.resolve().stem}.parquet")
    return added


def listing(data: Path, tag: str | None = None) -> list[DataFile]:
    """What is there, by tag and name.

    :raises FlopsError: FLOPS-P014 when a file there is no Parquet file
    """
    from flops_cli.adapters import arrow

    found = []
    for path in sorted(data.glob(f"{tag or '*'}/*.parquet")):
        rows, columns = arrow.describe(path)
        found.append(DataFile(path.parent.name, path.name, rows, columns))
    return found
