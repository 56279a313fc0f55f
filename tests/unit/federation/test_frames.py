"""Frames survive any cut, and nothing malformed gets through."""

import io
import math

import numpy as np
import pytest
from flops_federation.errors import FrameError
from flops_federation.frames import Assembler, FrameKind, encode_parcel, encode_word
from flops_federation.parcels import ArrayData, Failure, Parcel
from hypothesis import given
from hypothesis import strategies as st

scalars = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20),
    st.binary(max_size=20), st.booleans(),
)  # fmt: skip
configs = st.dictionaries(
    st.text(max_size=5), st.one_of(scalars, st.lists(st.binary(max_size=5), max_size=3)), max_size=4
)
metrics = st.dictionaries(
    st.text(max_size=5),
    st.one_of(
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    ),
    max_size=4,
)
arrays = st.dictionaries(
    st.text(max_size=5),
    st.builds(ArrayData, st.just("uint8"), st.tuples(st.integers(0, 9)), st.binary(max_size=300)),
    max_size=5,
)
names = st.text(max_size=5)
parcels = st.builds(
    Parcel,
    st.sampled_from(["train", "evaluate", "query"]),
    st.dictionaries(names, st.one_of(st.none(), st.integers(0, 2**64 - 1), st.text(max_size=9)), max_size=3),
    st.dictionaries(names, arrays, max_size=2),
    st.dictionaries(names, metrics, max_size=2),
    st.dictionaries(names, configs, max_size=2),
    st.one_of(st.none(), st.builds(Failure, st.integers(0, 9), st.text(max_size=9))),
)


def as_bytes(parcel: Parcel) -> Parcel:
    from dataclasses import replace

    return replace(
        parcel,
        arrays={n: {k: replace(a, data=bytes(a.data)) for k, a in r.items()} for n, r in parcel.arrays.items()},
    )


@given(parcels, st.integers(1, 700))
def test_parcel_survives_every_chunk_size(parcel, chunk_size):
    assembler = Assembler(10_000)
    messages = list(encode_parcel(parcel, chunk_size))
    frames = [assembler.feed(message) for message in messages]
    assert frames[:-1] == [None] * (len(messages) - 1)
    assert as_bytes(frames[-1].parcel) == parcel


@given(parcels, parcels)
def test_one_stream_carries_parcel_after_parcel(first, second):
    assembler = Assembler(10_000)
    seen = [assembler.feed(m) for p in (first, second) for m in encode_parcel(p, 64)]
    assert [as_bytes(f.parcel) for f in seen if f] == [first, second]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_a_frame_error(data):
    try:
        frame = Assembler(10_000).feed(data)
    except FrameError:
        return
    assert frame is None or frame.kind in FrameKind


@given(parcels, st.data())
def test_a_flipped_byte_of_the_head_never_escapes_as_another_error(parcel, data):
    first = bytearray(next(encode_parcel(parcel, 10_000)))
    position = data.draw(st.integers(0, len(first) - 1))
    first[position] ^= data.draw(st.integers(1, 255))
    try:
        Assembler(100_000).feed(bytes(first))
    except FrameError:
        return


def test_no_chunk_is_longer_than_asked_but_the_header():
    data = np.arange(1000, dtype="u1").tobytes()
    parcel = Parcel(
        "train", arrays={"arrays": {"0": ArrayData("uint8", (1000,), data), "1": ArrayData("uint8", (1000,), data)}}
    )
    sizes = [len(message) for message in encode_parcel(parcel, 512)]
    assert max(sizes) <= 512
    assert sum(sizes) > 2000


def test_word_arrives_with_its_kind():
    frame = Assembler(0).feed(encode_word(FrameKind.HELLO, {"rows": 3}))
    assert frame is not None
    assert (frame.kind, frame.word, frame.parcel) == (FrameKind.HELLO, {"rows": 3}, None)


def test_body_over_the_limit_is_refused_before_it_is_taken():
    parcel = Parcel("train", arrays={"a": {"0": ArrayData("uint8", (100,), bytes(100))}})
    with pytest.raises(FrameError, match="over the limit of 99"):
        Assembler(99).feed(next(encode_parcel(parcel)))


def test_bytes_behind_the_end_are_refused():
    parcel = Parcel("train", arrays={"a": {"0": ArrayData("uint8", (100,), bytes(100))}})
    messages = list(encode_parcel(parcel, 50))
    assembler = Assembler(1000)
    for message in messages[:-1]:
        assert assembler.feed(message) is None
    with pytest.raises(FrameError, match="behind the end"):
        assembler.feed(messages[-1] + b"x")


def test_other_version_is_named():
    message = bytearray(encode_word(FrameKind.HELLO, {}))
    message[1] = 9
    with pytest.raises(FrameError, match="the peer speaks 9"):
        Assembler(0).feed(bytes(message))


def test_metric_that_is_no_number_arrives_as_nan():
    parcel = Parcel("evaluate", metrics={"m": {"loss": math.inf, "list": [1.0, math.nan]}})
    frame = Assembler(0).feed(next(encode_parcel(parcel)))
    metrics = frame.parcel.metrics["m"]
    assert math.isnan(metrics["loss"])
    assert metrics["list"][0] == 1.0
    assert math.isnan(metrics["list"][1])


def test_a_memoryview_of_an_array_travels_without_being_bytes_first():
    array = np.arange(12, dtype="<f4").reshape(3, 4)
    file = io.BytesIO()
    np.save(file, array)
    parcel = Parcel("train", arrays={"a": {"0": ArrayData("float32", (3, 4), file.getbuffer())}})
    frame = Assembler(10_000).feed(b"".join(encode_parcel(parcel)))
    assert np.array_equal(np.load(io.BytesIO(frame.parcel.arrays["a"]["0"].data)), array)
