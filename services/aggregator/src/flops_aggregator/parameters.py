"""The model's parameters: their bytes, what kind they are of, and whether others are of the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from flops_federation.npy import read_npy, write_npy
from flops_federation.parcels import ArrayData
from flops_protocol.errors import FlopsError

Parameters = tuple[ArrayData, ...]
"""The arrays in the order in which the code gives them, each the bytes of a `.npy` file."""


@dataclass(frozen=True)
class Kind:
    """What every version of one array has in common."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


def kinds_of(parameters: Parameters) -> tuple[Kind, ...]:
    """The kind of each array.

    :raises ValueError: when the bytes are no arrays
    """
    return tuple(Kind(array.dtype, array.shape) for array in map(_array, parameters))


def from_arrays(arrays: Sequence[npt.NDArray[Any]]) -> Parameters:
    """The arrays' bytes."""
    return tuple(write_npy(array) for array in arrays)


def to_arrays(parameters: Parameters) -> list[npt.NDArray[Any]]:
    """The arrays, as views of their bytes.

    :raises ValueError: when the bytes are no arrays
    """
    return [_array(data) for data in parameters]


def require_same_kind(parameters: Parameters, kinds: Sequence[Kind]) -> None:
    """Holds what a learner sent to the model's own shapes and dtypes, and to finite numbers.

    :raises FlopsError: FLOPS-T005 when they are not of these kinds, FLOPS-T006 when a number is not finite
    """
    if len(parameters) != len(kinds):
        raise FlopsError("FLOPS-T005", f"{len(parameters)} arrays came back instead of {len(kinds)}")
    for index, (data, kind) in enumerate(zip(parameters, kinds, strict=True)):
        try:
            array = _array(data)
        except ValueError as error:
            raise FlopsError("FLOPS-T005", f"array {index}: {error}") from error
        if array.dtype != kind.dtype or array.shape != kind.shape:
            came = Kind(array.dtype, array.shape)
            raise FlopsError("FLOPS-T005", f"array {index} came back as {came} instead of {kind}")
        require_finite(array, f"array {index}")


def require_finite(array: npt.NDArray[Any], name: str) -> None:
    """Looks for NaN and infinities.

    :raises FlopsError: FLOPS-T006
    """
    if array.dtype.kind not in "fc" or not array.size:
        return
    # One pass without a temporary array; only a sum that overflows, or holds a NaN, is looked at closely.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(array.sum()):
            return
    count = int(array.size - np.isfinite(array).sum())
    if count:
        raise FlopsError("FLOPS-T006", f"{name}: {count} of {array.size} numbers are not finite")


def as_kinds(parameters: Parameters, kinds: Sequence[Kind]) -> Parameters:
    """What a strategy made, in the model's own dtypes: averages of counters are floats, Adam's of float32 are float64.

    :raises FlopsError: FLOPS-T005 when a shape is another, FLOPS-T006 when a number is not finite
    """
    if len(parameters) != len(kinds):
        raise FlopsError("FLOPS-T005", f"the strategy gave {len(parameters)} arrays instead of {len(kinds)}")
    same = []
    for index, (data, kind) in enumerate(zip(parameters, kinds, strict=True)):
        array = _array(data)
        if array.shape != kind.shape:
            raise FlopsError("FLOPS-T005", f"the strategy gave array {index} the shape {array.shape}, not {kind.shape}")
        require_finite(array, f"array {index} of the strategy")
        if array.dtype != kind.dtype:
            array = _as_dtype(array, kind.dtype)
            require_finite(array, f"array {index} of the strategy as {kind.dtype}")
            data = write_npy(array)
        same.append(data)
    return tuple(same)


def _as_dtype(array: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    if array.dtype.kind == "f" and dtype.kind in "iub":
        array = np.rint(array)
    if dtype.kind in "iu":
        # A strategy that overshoots must not make a counter wrap around.
        limits = np.iinfo(dtype)
        top = float(limits.max)
        # 2^63 - 1 is no float64; the next one above it would wrap around after all.
        array = np.clip(array, limits.min, limits.max if top <= limits.max else np.nextafter(top, 0))
    with np.errstate(over="ignore"):
        return array.astype(dtype)


def as_numbers(data: ArrayData) -> ArrayData:
    """Counters and flags as float64: strategies compute with them, and some do so in place."""
    array = _array(data)
    return data if array.dtype.kind in "fc" else write_npy(array.astype(np.float64))


def _array(data: ArrayData) -> npt.NDArray[Any]:
    return read_npy(data.data)
