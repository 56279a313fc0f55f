"""The learner's share of the node's data, from Parquet files by tag.

All files of the tags are taken in the order of their names, as one run of rows. Of this, part `p` of `n` gets the rows
`p, p + n, p + 2n, …`: the parts are disjoint, and together they are everything.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from flops_mlrepo.contract import WorkerFault

if TYPE_CHECKING:
    import numpy as np


class DataError(RuntimeError):
    """Raised when there is no data to give. `fault` says why."""

    fault: WorkerFault
    """DATA_NOT_HERE, NO_ROWS or DATA_UNREADABLE."""

    def __init__(self, fault: WorkerFault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


class Source(NamedTuple):
    """Where the data is and which part of it is ours."""

    folder: str
    tags: list[str]
    part: int
    parts: int


class _State:
    """What the worker set, and what was given to the code since."""

    source: Source | None = None
    rows: int | None = None
    columns: str | None = None


def open_source(source: Source) -> None:
    """Lets the three load functions give data from here on; until then they fail."""
    _State.source, _State.rows, _State.columns = source, None, None


def close_source() -> None:
    """Lets the load functions fail again."""
    _State.source, _State.rows, _State.columns = None, None, None


def rows_offered() -> int | None:
    """How many rows the code was last given; None when it never asked."""
    return _State.rows


def columns_offered() -> str | None:
    """The columns that the code was last given, for people: `image (struct<bytes, path>), label (int64)`."""
    return _State.columns


def load_table() -> Any:
    """The learner's share as a `pyarrow.Table`: the lightest way, with images still as the bytes of their files.

    :raises DataError: when there is no data here, none with the tags, or the files cannot be read
    """
    if _State.source is None:
        raise DataError(
            WorkerFault.DATA_NOT_HERE,
            "there is no data here: data is loaded by set_model_data() in a learner only, "
            "so do not call it when the ModelManager is constructed or when a module is imported",
        )
    table = _read(_State.source)
    _State.rows = table.num_rows
    _State.columns = _brief(table.schema)
    if table.num_rows == 0:
        source = _State.source
        raise DataError(
            WorkerFault.NO_ROWS,
            "part {} of {} has no rows of the tags {}".format(source.part + 1, source.parts, ", ".join(source.tags)),
        )
    return table


def load_arrays() -> dict[str, np.ndarray]:
    """The learner's share as one NumPy array a column: numbers as they are, equal-length lists and images stacked.

    Images become arrays of `uint8` with the shape (rows, height, width) or (rows, height, width, channels); this needs
    Pillow. Rows of differing lengths or sizes, and texts, become an array of objects.

    :raises DataError: as :func:`load_table`
    """
    from flops_mlrepo.columns import column_array

    table = load_table()
    return {name: column_array(table.schema.field(name), table.column(name)) for name in table.column_names}


def load_dataset() -> Any:
    """The learner's share as a Hugging Face `datasets.Dataset`, with images decoded as the library does.

    :raises DataError: as :func:`load_table`
    """
    table = load_table()
    import uuid

    import datasets

    features = _image_features(table.schema, datasets)
    # With a fingerprint given, the library does not hash the whole table to make one.
    dataset = datasets.Dataset(table, fingerprint=uuid.uuid4().hex[:16])
    return dataset if features is None else dataset.cast(features)


def _image_features(schema: Any, datasets: Any) -> Any:
    """Features with `Image` for columns that look like the Hub's but came without its metadata; else None."""
    if b"huggingface" in (schema.metadata or {}):
        return None
    features = datasets.Features.from_arrow_schema(schema)
    images = [field.name for field in schema if is_image(field.type)]
    if not images:
        return None
    for name in images:
        features[name] = datasets.Image()
    return features


def is_image(kind: Any) -> bool:
    """Whether an Arrow type is the Hub's for images: a struct of `bytes` and `path`."""
    import pyarrow as pa

    return pa.types.is_struct(kind) and {kind.field(i).name for i in range(kind.num_fields)} == {"bytes", "path"}


def _files(source: Source) -> list[Path]:
    folder = Path(source.folder)
    return [path for tag in sorted(set(source.tags)) for path in sorted((folder / tag).glob("*.parquet"))]


def _read(source: Source) -> Any:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise ImportError(
            "pyarrow is not in the repository's environment; add it to the dependencies to read the node's data"
        ) from None
    files = _files(source)
    if not files:
        raise DataError(WorkerFault.NO_ROWS, "no file has the tags {}".format(", ".join(source.tags)))
    shares: list[Any] = []
    # Where the next file begins in the run of all rows.
    start = 0
    for path in files:
        name = f"{path.parent.name}/{path.name}"
        try:
            with parquet.ParquetFile(path) as file:
                share = _share(file, start, source)
                start += file.metadata.num_rows
        except (pa.ArrowException, OSError) as error:
            raise DataError(WorkerFault.DATA_UNREADABLE, f"{name}: {str(error)[:500]}") from None
        if shares and not share.schema.equals(shares[0].schema):
            found, expected = _brief(share.schema), _brief(shares[0].schema)
            raise DataError(
                WorkerFault.DATA_UNREADABLE,
                f"{name} has other columns than the files before it: {found} instead of {expected}",
            )
        shares.append(share)
    # The first file's metadata stands for all: it holds the Hub's features.
    first = shares[0].schema
    return pa.concat_tables([share.replace_schema_metadata(first.metadata) for share in shares])


def _share(file: Any, start: int, source: Source) -> Any:
    """The rows of one file that are ours, a batch at a time, so that the other parts' rows are not held."""
    import numpy as np
    import pyarrow as pa

    batches = []
    row = start
    for batch in file.iter_batches(batch_size=16_384):
        first = (source.part - row) % source.parts
        row += batch.num_rows
        batches.append(batch.take(pa.array(np.arange(first, batch.num_rows, source.parts))))
    return pa.Table.from_batches(batches, schema=file.schema_arrow)


def _brief(schema: Any) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema)
