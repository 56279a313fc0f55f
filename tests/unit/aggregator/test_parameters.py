"""The kinds of parameters, and finite numbers."""

import numpy as np
import pytest
from flops_aggregator.parameters import (
    as_kinds,
    as_numbers,
    from_arrays,
    kinds_of,
    require_finite,
    require_same_kind,
    to_arrays,
)
from flops_federation.parcels import ArrayData
from flops_protocol.errors import FlopsError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
floats = hnp.arrays(st.sampled_from([np.float16, np.float32, np.float64]), shapes)
anything = hnp.arrays(st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_]), shapes)


def code_of(function, *arguments):
    try:
        function(*arguments)
    except FlopsError as error:
        return error.body.code
    return None


@given(floats)
def test_require_finite_finds_exactly_what_is_not_finite(array):
    expected = None if np.isfinite(array).all() else "FLOPS-T006"
    assert code_of(require_finite, array, "x") == expected


def test_a_sum_that_overflows_is_no_mistake():
    require_finite(np.full(10, np.finfo(np.float32).max, dtype=np.float32), "x")


@given(st.lists(anything, max_size=3), st.lists(anything, max_size=3))
def test_same_kind_is_number_shape_and_dtype(first, second):
    first = [np.nan_to_num(array) for array in first]
    second = [np.nan_to_num(array) for array in second]
    same = [(a.dtype, a.shape) for a in first] == [(a.dtype, a.shape) for a in second]
    assert code_of(require_same_kind, from_arrays(second), kinds_of(from_arrays(first))) == (
        None if same else "FLOPS-T005"
    )


def test_bytes_that_are_no_array_are_named():
    kinds = kinds_of(from_arrays([np.zeros(2)]))
    with pytest.raises(FlopsError, match=r"array 0: the data do not begin like a \.npy file"):
        require_same_kind((ArrayData("float64", (2,), b"something else"),), kinds)


@given(hnp.arrays(np.int64, shapes, elements=st.integers(-(2**52), 2**52)))
def test_counters_survive_being_numbers(array):
    (kept,) = to_arrays(as_kinds((as_numbers(from_arrays([array])[0]),), kinds_of(from_arrays([array]))))
    assert kept.dtype == np.int64
    assert np.array_equal(kept, array)


def test_averages_of_counters_and_flags_are_rounded():
    kinds = kinds_of(from_arrays([np.zeros(3, np.int32), np.zeros(2, np.bool_)]))
    averaged = from_arrays([np.array([1.4, 1.6, -2.6]), np.array([0.4, 0.6])])
    counters, flags = to_arrays(as_kinds(averaged, kinds))
    assert counters.tolist() == [1, 2, -3]
    assert flags.tolist() == [False, True]


def test_a_counter_does_not_wrap_around():
    kinds = kinds_of(from_arrays([np.zeros(2, np.uint8)]))
    (counters,) = to_arrays(as_kinds(from_arrays([np.array([-3.0, 300.0])]), kinds))
    assert counters.tolist() == [0, 255]
    (huge,) = to_arrays(as_kinds(from_arrays([np.array([1e30])]), kinds_of(from_arrays([np.zeros(1, np.int64)]))))
    assert huge[0] > 2**62


def test_what_a_strategy_gives_keeps_its_shape_and_is_finite():
    kinds = kinds_of(from_arrays([np.zeros(2, np.float32)]))
    assert code_of(as_kinds, from_arrays([np.zeros(3)]), kinds) == "FLOPS-T005"
    assert code_of(as_kinds, from_arrays([]), kinds) == "FLOPS-T005"
    assert code_of(as_kinds, from_arrays([np.array([1.0, np.nan])]), kinds) == "FLOPS-T006"


def test_numbers_that_are_too_big_for_the_models_dtype_are_not_finite():
    kinds = kinds_of(from_arrays([np.zeros(1, np.float32)]))
    assert code_of(as_kinds, from_arrays([np.array([1e300])]), kinds) == "FLOPS-T006"
