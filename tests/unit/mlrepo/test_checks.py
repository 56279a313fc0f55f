"""What counts as the contract's return values."""

from __future__ import annotations

import numpy as np
import pytest
from flops_mlrepo.contract import WorkerFault
from flops_mlrepo.guest import checks
from flops_mlrepo.guest.faults import FaultError
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize("value", [7, np.int32(7), np.uint8(7), np.array(7)])
def test_whole_numbers_of_any_library_are_a_count(value):
    assert checks.fit_count(value) == 7


@pytest.mark.parametrize("value", [None, 0, -1, True, 7.0, "7", (7,), np.array([7, 8])])
def test_anything_else_is_no_count(value):
    with pytest.raises(FaultError) as caught:
        checks.fit_count(value)
    assert caught.value.kind is WorkerFault.FIT_RESULT
    assert type(value).__name__ in caught.value.detail


@pytest.mark.parametrize(
    "value", [(0.5, 1, 3), [np.float32(0.5), np.float64(1), np.int64(3)], (np.array(0.5), np.array(1.0), np.array(3))]
)
def test_an_evaluation_is_three_numbers(value):
    assert checks.evaluation(value) == (0.5, 1.0, 3)


@pytest.mark.parametrize(
    "value", [None, 0.5, (0.5, 1.0), (0.5, 1.0, 3, 4), (None, 1.0, 3), ("0.5", 1.0, 3), (0.5, 1.0, 0), (0.5, 1.0, 2.5)]
)
def test_anything_else_is_no_evaluation(value):
    with pytest.raises(FaultError) as caught:
        checks.evaluation(value)
    assert caught.value.kind is WorkerFault.EVALUATE_RESULT


@pytest.mark.parametrize("value", [(float("nan"), 1.0, 3), (0.5, float("inf"), 3)])
def test_numbers_of_an_evaluation_are_finite(value):
    with pytest.raises(FaultError) as caught:
        checks.evaluation(value)
    assert caught.value.kind is WorkerFault.NOT_FINITE


@settings(deadline=None)
@given(st.lists(st.floats(width=32), min_size=1, max_size=50), st.sampled_from(["f2", "f4", "f8", "c8"]))
def test_what_is_not_finite_is_found_however_large_the_rest_is(values, dtype):
    with np.errstate(all="ignore"):
        array = np.array(values).astype(dtype)
    if np.isfinite(array).all():
        checks.require_finite([array])
    else:
        with pytest.raises(FaultError):
            checks.require_finite([np.zeros(2), array])


def test_finite_values_may_add_up_to_infinity():
    checks.require_finite([np.full(10, np.finfo(np.float32).max, dtype=np.float32)])


class Unprintable:
    def __repr__(self):
        raise RuntimeError


def test_a_value_that_cannot_be_shown_is_named_by_its_type():
    with pytest.raises(FaultError, match="Unprintable"):
        checks.fit_count(Unprintable())


def test_numbers_and_tuples_become_arrays():
    arrays = checks.parameter_arrays((np.float32(1.5), [1, 2], 3.0))
    assert checks.kinds_of(arrays)[0] == ((), np.dtype("f4"))
    assert [array.shape for array in arrays] == [(), (2,), ()]
