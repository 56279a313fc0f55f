"""The smoke round: does a ModelManager keep to the contract, as far as that shows without data?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from flops_mlrepo.contract import WorkerFault
from flops_mlrepo.guest.faults import FaultError

if TYPE_CHECKING:
    from flops_mlrepo.guest.model import Model


def smoke(model: Model) -> int:
    """Constructs, gets, sets, gets and compares; then the same with other values. The number of parameter arrays.

    The second time finds a set_model_parameters() that does nothing. The model is left as it was.

    :raises FaultError: whatever is wrong
    """
    model.construct()
    first = [array.copy() for array in model.parameters()]
    _round_trip(model, first)
    try:
        _round_trip(model, [_shifted(array) for array in first])
    except FaultError as fault:
        # A model may refuse values that it would never have; then there is nothing to learn from this.
        if fault.kind is not WorkerFault.EXCEPTION:
            raise
    model.set_parameters([array.copy() for array in first])
    return len(first)


def _round_trip(model: Model, values: list[np.ndarray]) -> None:
    # Copies, since the code may keep what it is given.
    model.set_parameters([array.copy() for array in values])
    back = model.parameters("set_model_parameters")
    model.checked("set_model_parameters", _require_same, values, back)


def _require_same(values: list[np.ndarray], back: list[np.ndarray]) -> None:
    for index, (sent, got) in enumerate(zip(values, back)):
        if not _same(sent, got):
            raise FaultError(
                WorkerFault.PARAMETERS_CHANGED,
                f"after set_model_parameters(p), get_model_parameters() gives another parameter {index} than p has",
            )


def _shifted(array: np.ndarray) -> np.ndarray:
    """Other values that a model can bear: floats a little larger in size, whole numbers as they are."""
    if array.dtype.kind not in "fc":
        return array
    return (array * 1.25 + 0.125).astype(array.dtype)


def _same(sent: np.ndarray, got: np.ndarray) -> bool:
    if sent.dtype.kind not in "fc":
        return bool(np.array_equal(sent, got))
    return bool(np.allclose(got, sent, rtol=1e-3, atol=1e-3, equal_nan=True))
