"""Arrays as the bytes of `.npy` files, both ways with one copy at most and never a pickle."""

from __future__ import annotations

import functools
import io
import struct
import tokenize
from typing import Any

import numpy as np
import numpy.typing as npt

from flops_federation.parcels import ArrayData, Buffer


def write_npy(array: npt.NDArray[Any]) -> ArrayData:
    """The array as a `.npy` file's bytes.

    :raises ValueError: when it holds Python objects
    """
    if array.dtype.hasobject:
        raise ValueError("arrays of Python objects do not travel")
    array = array if array.flags.c_contiguous else np.ascontiguousarray(array)
    head = _npy_head(array.dtype.str, array.shape)
    data = bytearray(len(head) + array.nbytes)
    data[: len(head)] = head
    np.frombuffer(data, array.dtype, array.size, len(head))[:] = array.reshape(-1)
    return ArrayData(str(array.dtype), array.shape, data)


@functools.lru_cache(maxsize=4096)
def _npy_head(dtype: str, shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


def read_npy(data: Buffer) -> npt.NDArray[Any]:
    """The array in the bytes of a `.npy` file, as a view of them.

    :raises ValueError: when they are no such file, or one with Python objects, which only a pickle could bring
    """
    view = memoryview(data)
    if bytes(view[:6]) != b"\x93NUMPY" or len(view) < 12:
        raise ValueError("the data do not begin like a .npy file")
    start = 10 + struct.unpack_from("<H", view, 8)[0] if view[6] == 1 else 12 + struct.unpack_from("<I", view, 8)[0]
    dtype, shape, order = _npy_header(bytes(view[:start]))
    count = int(np.prod(shape, dtype=np.int64))
    if len(view) - start != count * dtype.itemsize:
        raise ValueError(f"the .npy data have {len(view) - start} bytes for {count} items of {dtype}")
    return np.frombuffer(view, dtype, count, start).reshape(shape, order=order)


@functools.lru_cache(maxsize=4096)
def _npy_header(header: bytes) -> tuple[np.dtype[Any], tuple[int, ...], Any]:
    # NumPy's own reader takes 30 µs a header, and the same ones come every round.
    file = io.BytesIO(header)
    version = np.lib.format.read_magic(file)
    if version not in {(1, 0), (2, 0)}:
        raise ValueError(f"version {version} of the .npy format")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, fortran, dtype = read(file)
    except (SyntaxError, tokenize.TokenError) as error:
        raise ValueError(f"the .npy header cannot be read: {error}") from error
    if dtype.hasobject:
        raise ValueError("arrays of Python objects do not travel")
    return dtype, shape, "F" if fortran else "C"
