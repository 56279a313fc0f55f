"""Frames between host and guest: a small JSON head and any number of arrays, each as `.npy`.

A frame is a prefix of 24 bytes (magic, length of the block, number of arrays, length of the bodies), a block (the JSON
head, then one `.npy` header an array) and the bodies: the arrays' bytes in the order of their headers. The headers
stand together so that a reader can allocate every array first and read all bodies into place. Nothing is ever pickled:
only booleans and numbers travel.
"""

from __future__ import annotations

import io
import json
import math
import re
import struct
from functools import lru_cache
from typing import Any, Dict, NamedTuple, Sequence, Union

import numpy as np
from numpy.lib import format as npy

Head = Dict[str, Any]
Buffer = Union[bytes, memoryview]

_PREFIX = struct.Struct(">4sIIIQ")
_MAGIC = b"FLM1"
PREFIX_BYTES = _PREFIX.size
MAX_HEAD_BYTES = 1 << 20
MAX_BLOCK_BYTES = 64 << 20
MAX_ARRAYS = 200_000
_NPY_PREFIX_BYTES = 10
_MAX_NPY_HEADER_BYTES = 4096
_NPY_HEADER = re.compile(
    rb"\{'descr': '([<>|][biufc][0-9]{1,2})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:[0-9]{1,19},)?|[0-9]{1,19}(?:, [0-9]{1,19})+)\), \} *\n"
)
NUMERIC_KINDS = "biufc"
"""NumPy's kinds that may travel: boolean, signed, unsigned, float, complex."""


class FrameError(ValueError):
    """Raised when bytes are no frame, or are over a limit; also when an array is of a dtype that does not travel."""


class Prefix(NamedTuple):
    """The lengths that a frame announces, already within the limits."""

    head_bytes: int
    block_bytes: int
    arrays: int
    body_bytes: int


def encode(head: Head, arrays: Sequence[np.ndarray] = ()) -> list[Buffer]:
    """The frame as buffers to send one after the other. The arrays' bytes are not copied where they are contiguous.

    :raises FrameError: when an array is not numeric, or the head is over its limit
    """
    document = json.dumps(head, separators=(",", ":")).encode()
    if len(document) > MAX_HEAD_BYTES:
        raise FrameError(f"the head has {len(document)} bytes, {MAX_HEAD_BYTES} are allowed")
    headers: list[bytes] = []
    bodies: list[Buffer] = []
    body_bytes = 0
    for array in arrays:
        header, body = _array_parts(array)
        headers.append(header)
        if body.nbytes:
            bodies.append(body)
            body_bytes += body.nbytes
    block = b"".join([document, *headers])
    prefix = _PREFIX.pack(_MAGIC, len(document), len(block), len(headers), body_bytes)
    return [prefix + block, *bodies]


def parse_prefix(data: Buffer, max_body_bytes: int) -> Prefix:
    """The lengths of the frame that begins with these 24 bytes.

    :raises FrameError: when they are no prefix, or announce more than is allowed
    """
    magic, head_bytes, block_bytes, arrays, body_bytes = _PREFIX.unpack(data)
    if magic != _MAGIC:
        raise FrameError("the bytes do not begin a frame")
    if head_bytes > min(MAX_HEAD_BYTES, block_bytes) or block_bytes > MAX_BLOCK_BYTES or arrays > MAX_ARRAYS:
        raise FrameError("the frame announces a head or headers over the limit")
    if body_bytes > max_body_bytes:
        raise FrameError(f"the frame announces {body_bytes} bytes of arrays, {max_body_bytes} are allowed")
    return Prefix(head_bytes, block_bytes, arrays, body_bytes)


def parse_block(prefix: Prefix, block: bytes) -> tuple[Head, list[np.ndarray], list[memoryview]]:
    """The head, the arrays still without their values, and where the bodies have to be read into.

    The arrays are fresh, writable and in the order of the frame; a Fortran-ordered array stays one.

    :raises FrameError: when the block is not what the prefix says
    """
    try:
        head = json.loads(block[: prefix.head_bytes])
    except (ValueError, RecursionError) as error:
        raise FrameError(f"the head is not JSON: {error}") from None
    if not isinstance(head, dict):
        raise FrameError("the head is not a JSON object")
    kinds = []
    at = prefix.head_bytes
    for _ in range(prefix.arrays):
        header = block[at : at + _NPY_PREFIX_BYTES]
        if len(header) < _NPY_PREFIX_BYTES or header[:8] != b"\x93NUMPY\x01\x00":
            raise FrameError("an array's header is not that of .npy 1.0")
        length = _NPY_PREFIX_BYTES + int.from_bytes(header[8:], "little")
        if length > _MAX_NPY_HEADER_BYTES or at + length > len(block):
            raise FrameError("an array's header is cut off or over the limit")
        kinds.append(_read_header(block[at : at + length]))
        at += length
    if at != len(block):
        raise FrameError("there are bytes behind the last header")
    if sum(kind.nbytes for kind in kinds) != prefix.body_bytes:
        raise FrameError("the headers do not add up to the announced bytes")
    arrays, views = [], []
    for kind in kinds:
        # Allocated in the order of the bytes, then seen in the order of the axes.
        shape = kind.shape[::-1] if kind.fortran else kind.shape
        try:
            array = np.empty(shape, kind.dtype)
        except (ValueError, MemoryError) as error:
            raise FrameError(f"an array of shape {shape} cannot be held: {error}") from None
        if kind.nbytes:
            views.append(_bytes_of(array))
        arrays.append(array.T if kind.fortran else array)
    return head, arrays, views


class _ArrayKind(NamedTuple):
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    nbytes: int


def _array_parts(array: np.ndarray) -> tuple[bytes, memoryview]:
    dtype = array.dtype
    if dtype.kind not in NUMERIC_KINDS:
        raise FrameError(f"an array of dtype {dtype} does not travel: only numbers do")
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    header = _write_header(dtype.str, fortran, array.shape)
    ordered = array.T if fortran else array
    # Not ascontiguousarray, which makes one dimension out of none.
    return header, _bytes_of(ordered if ordered.flags.c_contiguous else ordered.copy(order="C"))


def _bytes_of(array: np.ndarray) -> memoryview:
    # memoryview.cast knows neither long doubles nor the other byte order; NumPy's own view does.
    # NumPy's arrays offer the buffer interface, which their types say only from Python 3.12 on.
    return memoryview(array.reshape(-1).view(np.uint8))  # type: ignore[arg-type]


@lru_cache(maxsize=4096)
def _write_header(descr: str, fortran: bool, shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    npy.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": fortran, "shape": shape})
    return buffer.getvalue()


@lru_cache(maxsize=4096)
def _read_header(header: bytes) -> _ArrayKind:
    # Not NumPy's own reader, which evaluates the text: here it is exactly what NumPy writes, or refused.
    match = _NPY_HEADER.fullmatch(header, _NPY_PREFIX_BYTES)
    if match is None:
        raise FrameError(f"an array's header cannot be read: {header[_NPY_PREFIX_BYTES:][:100]!r}")
    descr, fortran, lengths = (group.decode() for group in match.groups())
    try:
        dtype = np.dtype(descr)
    except TypeError as error:
        raise FrameError(f"an array's header cannot be read: {error}") from None
    shape = tuple(int(length) for length in lengths.replace(",", " ").split())
    return _ArrayKind(shape, fortran == "True", dtype, dtype.itemsize * math.prod(shape))
