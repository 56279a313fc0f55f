"""Files with training data, read into Arrow tables, and written as Parquet."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from flops_protocol.errors import FlopsError

IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"}
IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""As the Hugging Face Hub has images in Parquet."""


def read(path: Path) -> Any:
    """The table in a Parquet, CSV, .npz or .npy file, or in a folder of images with one subfolder a label.

    :raises FlopsError: FLOPS-P014 when it is none of these, broken, or empty
    """
    try:
        table = _reader(path)(path)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise FlopsError("FLOPS-P014", f"{path} cannot be read: {_first_line(error)}", file=str(path)) from error
    if table.num_rows == 0:
        raise FlopsError("FLOPS-P014", f"{path} has no rows", file=str(path))
    return table


def write(table: Any, path: Path) -> None:
    """Writes a table in one go: a reader of the folder sees the whole file or none."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        pq.write_table(table, draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def describe(path: Path) -> tuple[int, dict[str, str]]:
    """The number of rows of a Parquet file, and its columns' Arrow types; rows are not read.

    :raises FlopsError: FLOPS-P014 when it is no Parquet file
    """
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            return file.metadata.num_rows, {name: str(schema.field(name).type) for name in schema.names}
    except (OSError, ValueError, pa.ArrowException) as error:
        raise FlopsError("FLOPS-P014", f"{path} cannot be read: {_first_line(error)}", file=str(path)) from error


def image_table(images: list[bytes], labels: list[int], names: list[str]) -> Any:
    """Images and labels as the Hub has them: `image` a struct of bytes and path, `label` a number with a name."""
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    schema = pa.schema(
        [("image", IMAGE_TYPE), ("label", pa.int64())],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    column = pa.array([{"bytes": image, "path": None} for image in images], IMAGE_TYPE)
    return pa.table([column, pa.array(labels, pa.int64())], schema=schema)


def _reader(path: Path) -> Callable[[Path], Any]:
    if path.is_dir():
        return _read_images
    readers: dict[str, Callable[[Path], Any]] = {
        ".parquet": _read_parquet,
        ".pq": _read_parquet,
        ".csv": pyarrow.csv.read_csv,
        ".npz": _read_npz,
        ".npy": _read_npy,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise FlopsError("FLOPS-P014", f"{path} is of no kind that is known here", file=str(path))
    return reader


def _read_parquet(path: Path) -> Any:
    with pq.ParquetFile(path) as file:
        return file.read()


def _read_npz(path: Path) -> Any:
    """Each array is a column; all have the same number of rows."""
    with np.load(path, allow_pickle=False) as arrays:
        columns = {name: arrays[name] for name in arrays.files}
    lengths = {name: len(array) if array.ndim else 0 for name, array in columns.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"its arrays differ in length: {lengths}")
    return pa.table({name: _column(array) for name, array in columns.items()})


def _read_npy(path: Path) -> Any:
    """One array: a column `values`."""
    return pa.table({"values": _column(np.load(path, allow_pickle=False))})


def _column(array: Any) -> Any:
    """One row an element of the first axis; more axes become lists of a fixed size."""
    if array.ndim <= 1:
        return pa.array(array)
    inner = _column(array.reshape(-1, *array.shape[2:]))
    return pa.FixedSizeListArray.from_arrays(inner, array.shape[1])


def _read_images(path: Path) -> Any:
    names = sorted(folder.name for folder in path.iterdir() if folder.is_dir())
    found = [
        (image, label)
        for label, name in enumerate(names)
        for image in sorted((path / name).iterdir())
        if image.suffix.lower() in IMAGES
    ]
    if not found:
        raise ValueError("it has no subfolders with images; each subfolder is a label")
    return image_table([image.read_bytes() for image, _ in found], [label for _, label in found], names)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
