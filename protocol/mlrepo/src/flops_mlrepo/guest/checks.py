"""What the code returned, held against the contract."""

from __future__ import annotations

import math
import operator
from typing import Any, List, Sequence, Tuple

import numpy as np

from flops_mlrepo.contract import WorkerFault
from flops_mlrepo.frames import NUMERIC_KINDS
from flops_mlrepo.guest.faults import FaultError

Kinds = List[Tuple[Tuple[int, ...], np.dtype]]


def shown(value: Any) -> str:
    """A value for people, short whatever it is."""
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__} that cannot be shown>"
    text = text if len(text) <= 120 else text[:117] + "..."
    return f"{text} ({type(value).__name__})"


def parameter_arrays(value: Any) -> list[np.ndarray]:
    """What get_model_parameters() returned, as arrays.

    :raises FaultError: PARAMETERS_TYPE
    """
    if isinstance(value, (np.ndarray, dict, str, bytes)) or not hasattr(value, "__iter__"):
        raise FaultError(
            WorkerFault.PARAMETERS_TYPE,
            f"get_model_parameters() must return a list of NumPy arrays, but returned {shown(value)}",
        )
    items = list(value)
    if not items:
        raise FaultError(WorkerFault.PARAMETERS_TYPE, "get_model_parameters() returned an empty list: nothing to learn")
    return [_parameter_array(index, item) for index, item in enumerate(items)]


def _parameter_array(index: int, item: Any) -> np.ndarray:
    try:
        array = np.asarray(item)
    except Exception as error:
        raise FaultError(
            WorkerFault.PARAMETERS_TYPE,
            f"parameter {index} cannot be made a NumPy array: {shown(item)} ({error})",
        ) from None
    if array.dtype.kind not in NUMERIC_KINDS:
        raise FaultError(
            WorkerFault.PARAMETERS_TYPE,
            f"parameter {index} has the dtype {array.dtype}, which is not numeric: {shown(item)}",
        )
    return array


def kinds_of(arrays: Sequence[np.ndarray]) -> Kinds:
    """Shape and dtype of each array."""
    return [(array.shape, array.dtype) for array in arrays]


def require_same_kinds(arrays: Sequence[np.ndarray], expected: Kinds, when: str) -> None:
    """Compares number, shapes and dtypes.

    :raises FaultError: PARAMETERS_CHANGED
    """
    if len(arrays) != len(expected):
        raise FaultError(
            WorkerFault.PARAMETERS_CHANGED,
            f"{when}, get_model_parameters() gives {len(arrays)} arrays instead of {len(expected)}",
        )
    for index, (array, (shape, dtype)) in enumerate(zip(arrays, expected)):
        if array.shape != shape:
            raise FaultError(
                WorkerFault.PARAMETERS_CHANGED,
                f"{when}, parameter {index} has the shape {array.shape} instead of {shape}",
            )
        if array.dtype != dtype:
            raise FaultError(
                WorkerFault.PARAMETERS_CHANGED,
                f"{when}, parameter {index} has the dtype {array.dtype} instead of {dtype}",
            )


def require_finite(arrays: Sequence[np.ndarray]) -> None:
    """Looks for NaN and infinity.

    :raises FaultError: NOT_FINITE
    """
    for index, array in enumerate(arrays):
        if array.dtype.kind not in "fc":
            continue
        with np.errstate(all="ignore"):
            # The sum is finite nearly always, and takes a third of the time of looking at every element.
            if np.isfinite(array.sum()):
                continue
            bad = int(array.size - np.count_nonzero(np.isfinite(array)))
        if bad:
            raise FaultError(
                WorkerFault.NOT_FINITE,
                f"after fit_model(), parameter {index} has {bad} of {array.size} values that are NaN or infinite",
            )


def fit_count(value: Any) -> int:
    """The number of samples that fit_model() returned.

    :raises FaultError: FIT_RESULT
    """
    count = _count(value)
    if count is None or count <= 0:
        raise FaultError(
            WorkerFault.FIT_RESULT,
            f"fit_model() must return the number of training samples, an int above 0, but returned {shown(value)}",
        )
    return count


def evaluation(value: Any) -> tuple[float, float, int]:
    """Loss, accuracy and number of samples as evaluate_model() returned them.

    :raises FaultError: EVALUATE_RESULT or NOT_FINITE
    """
    if isinstance(value, (tuple, list)) and len(value) == 3:
        loss, accuracy, count = _number(value[0]), _number(value[1]), _count(value[2])
        if loss is not None and accuracy is not None and count is not None and count > 0:
            for name, number in (("loss", loss), ("accuracy", accuracy)):
                if not math.isfinite(number):
                    raise FaultError(WorkerFault.NOT_FINITE, f"evaluate_model() returned the {name} {number}")
            return loss, accuracy, count
    raise FaultError(
        WorkerFault.EVALUATE_RESULT,
        f"evaluate_model() must return (loss, accuracy, number of samples above 0), but returned {shown(value)}",
    )


def _count(value: Any) -> int | None:
    if isinstance(value, (bool, np.bool_)):
        return None
    try:
        return int(operator.index(value))
    except TypeError:
        return None


def _number(value: Any) -> float | None:
    if isinstance(value, (bool, str, bytes)):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
