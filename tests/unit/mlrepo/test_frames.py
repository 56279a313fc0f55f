"""Frames: every numeric array comes through as it is, and nothing that is no frame gets past."""

from __future__ import annotations

import numpy as np
import pytest
from flops_mlrepo import frames
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

NUMERIC = st.one_of(
    arrays_of.boolean_dtypes(),
    arrays_of.integer_dtypes(endianness="?"),
    arrays_of.unsigned_integer_dtypes(endianness="?"),
    arrays_of.floating_dtypes(endianness="?", sizes=(16, 32, 64, 128)),
    arrays_of.complex_number_dtypes(endianness="?"),
)
ARRAYS = NUMERIC.flatmap(
    lambda dtype: arrays_of.arrays(dtype, arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)
HEADS = st.dictionaries(st.text(max_size=10), st.none() | st.integers() | st.text(max_size=10), max_size=3)
LIMIT = 1 << 20


def read(data: bytes, limit: int = LIMIT):
    """What a reader makes of a stream that begins with these bytes."""
    prefix = frames.parse_prefix(data[: frames.PREFIX_BYTES], limit)
    at = frames.PREFIX_BYTES + prefix.block_bytes
    head, arrays, views = frames.parse_block(prefix, data[frames.PREFIX_BYTES : at])
    for view in views:
        view[:] = data[at : at + view.nbytes]
        at += view.nbytes
    assert at == len(data)
    return head, arrays


def written(head, arrays) -> bytes:
    return b"".join(bytes(buffer) for buffer in frames.encode(head, arrays))


@settings(deadline=None)
@given(head=HEADS, given_arrays=st.lists(ARRAYS, max_size=4), order=st.sampled_from("CFK"))
def test_arrays_and_head_come_through_as_they_are(head, given_arrays, order):
    sent = [array.copy(order) for array in given_arrays]
    back_head, back = read(written(head, sent))
    assert back_head == head
    assert len(back) == len(sent)
    for before, after in zip(sent, back, strict=True):
        assert (after.dtype, after.shape) == (before.dtype, before.shape)
        assert after.tobytes() == before.tobytes()
        assert after.flags.writeable
        assert after.flags.f_contiguous == before.flags.f_contiguous


@settings(deadline=None)
@given(array=arrays_of.arrays(np.float32, (6, 4)))
def test_slices_and_transposed_arrays_come_through(array):
    for view in (array[::2], array[:, 1:3], array.T, array[::-1], array[3:3]):
        (back,) = read(written({}, [view]))[1]
        assert np.array_equal(back, view, equal_nan=True)


def test_contiguous_bytes_are_not_copied():
    array = np.arange(10.0)
    body = frames.encode({}, [array])[1]
    array[0] = 7.0
    assert np.frombuffer(body)[0] == 7.0


@pytest.mark.parametrize(
    "array",
    [
        np.array([{}], dtype=object),
        np.array(["text"]),
        np.array([b"bytes"]),
        np.array(["2020-01-01"], dtype="datetime64[D]"),
        np.zeros(2, dtype=[("a", "f8")]),
    ],
    ids=["object", "text", "bytes", "date", "structure"],
)
def test_only_numbers_travel(array):
    with pytest.raises(frames.FrameError, match="does not travel"):
        frames.encode({}, [array])


def test_an_overlong_head_is_refused():
    with pytest.raises(frames.FrameError, match="the head has"):
        frames.encode({"detail": "x" * frames.MAX_HEAD_BYTES})


@settings(deadline=None)
@given(data=st.binary(min_size=frames.PREFIX_BYTES, max_size=frames.PREFIX_BYTES))
def test_any_prefix_is_taken_within_the_limits_or_refused(data):
    for prefix_bytes in (data, b"FLM1" + data[4:]):
        try:
            prefix = frames.parse_prefix(prefix_bytes, LIMIT)
        except frames.FrameError:
            continue
        assert prefix.head_bytes <= prefix.block_bytes <= frames.MAX_BLOCK_BYTES
        assert prefix.head_bytes <= frames.MAX_HEAD_BYTES
        assert prefix.arrays <= frames.MAX_ARRAYS
        assert prefix.body_bytes <= LIMIT


@settings(deadline=None)
@given(data=st.binary(max_size=300), head_bytes=st.integers(0, 300), count=st.integers(0, 3), body=st.integers(0, 9))
def test_any_block_is_read_or_refused(data, head_bytes, count, body):
    try:
        frames.parse_block(frames.Prefix(min(head_bytes, len(data)), len(data), count, body), data)
    except frames.FrameError:
        return
    assert body == 0


@settings(deadline=None)
@given(array=ARRAYS, position=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_frame_with_a_wrong_byte_is_refused_or_stays_within_the_limit(array, position, value):
    data = bytearray(written({"id": 1}, [array]))
    data[position % len(data)] = value
    try:
        prefix = frames.parse_prefix(bytes(data[: frames.PREFIX_BYTES]), LIMIT)
        block = bytes(data[frames.PREFIX_BYTES : frames.PREFIX_BYTES + prefix.block_bytes])
        _, arrays, views = frames.parse_block(prefix, block)
    except frames.FrameError:
        return
    assert sum(view.nbytes for view in views) == sum(array.nbytes for array in arrays) <= LIMIT


@settings(deadline=None)
@given(array=ARRAYS, cut=st.integers(1, 1000))
def test_a_block_that_is_cut_off_is_refused(array, cut):
    data = written({"id": 1}, [array])
    prefix = frames.parse_prefix(data[: frames.PREFIX_BYTES], LIMIT)
    block = data[frames.PREFIX_BYTES : frames.PREFIX_BYTES + prefix.block_bytes]
    with pytest.raises(frames.FrameError):
        frames.parse_block(prefix, block[: max(0, len(block) - cut)])


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", "cannot be read"),
        ("{'descr': '<f9', 'fortran_order': False, 'shape': (1,), }", "cannot be read"),
        ("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,), }", "cannot be read"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }", "cannot be read"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999,), }", "do not add up"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (0, 9223372036854775807, 9), }", "cannot be held"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': " + "(" * 400 + ")" * 400 + ", }", "cannot be read"),
        ("__import__('os').abort()", "cannot be read"),
    ],
)
def test_a_hostile_array_header_is_refused(header, reason):
    text = header.encode() + b" " * 20 + b"\n"
    block = b"{}" + b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    with pytest.raises(frames.FrameError, match=reason):
        frames.parse_block(frames.Prefix(2, len(block), 1, 0), block)
