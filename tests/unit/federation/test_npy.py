"""The bytes of .npy files, compared with NumPy's own reader and writer."""

import io

import numpy as np
import pytest
from flops_federation.npy import read_npy, write_npy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

arrays = hnp.arrays(
    st.sampled_from(["<f4", "<f8", ">i4", "u1", "?", "<f2", "<c8"]), hnp.array_shapes(min_dims=0, min_side=0)
)


def npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


@given(arrays)
def test_write_npy_writes_what_numpy_reads(array):
    data = write_npy(array)
    got = np.load(io.BytesIO(data.data), allow_pickle=False)
    assert (got.dtype, got.shape) == (array.dtype, array.shape) == (np.dtype(data.dtype), data.shape)
    assert got.tobytes() == array.tobytes()


def test_write_npy_takes_what_is_not_contiguous():
    array = np.arange(12.0).reshape(3, 4).T[::2]
    assert np.array_equal(read_npy(write_npy(array).data), array)


def test_write_npy_refuses_objects():
    with pytest.raises(ValueError):
        write_npy(np.array([{}], dtype=object))


@given(arrays)
def test_read_npy_agrees_with_numpy(array):
    got = read_npy(bytearray(npy(array)))
    assert (got.dtype, got.shape) == (array.dtype, array.shape)
    assert got.tobytes() == array.tobytes()


def test_read_npy_keeps_fortran_order():
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    assert np.array_equal(read_npy(npy(array)), array)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no npy at all, really",
        npy(np.arange(4.0))[:-1],
        npy(np.arange(4.0)) + b"x",
        b"\x93NUMPY\x09\x00" + bytes(20),
        b"\x93NUMPY\x01\x00\x06\x00{'desc" + bytes(9),
    ],
    ids=["empty", "text", "short", "long", "version", "header"],
)
def test_read_npy_refuses_what_is_no_plain_array(data):
    with pytest.raises(ValueError):
        read_npy(data)


def test_objects_are_refused_though_the_header_is_well_formed():
    file = io.BytesIO()
    np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError):
        read_npy(file.getvalue())
