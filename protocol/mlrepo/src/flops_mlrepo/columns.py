"""Arrow columns as NumPy arrays."""

from __future__ import annotations

import io
from typing import Any, Sequence

import numpy as np

from flops_mlrepo.data import is_image


def column_array(field: Any, column: Any) -> np.ndarray:
    """One column as an array with a row each; see :func:`flops_mlrepo.load_arrays` for what becomes of which type."""
    import pyarrow as pa

    kind = field.type
    if is_image(kind):
        return _stack([_decoded(value) for value in column.to_pylist()])
    if pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _stack([np.asarray(value) for value in column.to_pylist()])
    return np.asarray(column.to_numpy())


def _decoded(value: Any) -> np.ndarray:
    try:
        from PIL import Image
    except ImportError:
        raise ImportError("Pillow is not in the repository's environment; images cannot be decoded without") from None
    with Image.open(io.BytesIO(value["bytes"])) as image:
        return np.asarray(image)


def _stack(rows: Sequence[np.ndarray]) -> np.ndarray:
    if len({row.shape for row in rows}) == 1:
        return np.stack(rows)
    ragged = np.empty(len(rows), dtype=object)
    for index, row in enumerate(rows):
        ragged[index] = row
    return ragged
