"""The host's end of the socket pair, with a worker at the other end that sends what it wants."""

from __future__ import annotations

import socket
import struct
import tracemalloc

import anyio
import numpy as np
import pytest
from flops_mlrepo import frames
from flops_mlrepo.guest import session
from flops_mlrepo.host.channel import Channel, ChannelClosedError

LIMIT = 1 << 20
MOST = 2**32 - 1


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Channel(ours), theirs


def frame(*arrays: np.ndarray) -> bytes:
    return b"".join(bytes(buffer) for buffer in frames.encode({"id": 1}, arrays))


async def test_frames_come_through_in_both_directions_whatever_their_size(ends):
    ours, theirs = ends
    sent = [np.arange(3_000_000, dtype=np.float32), *(np.full(index % 7, index) for index in range(3000))]
    got = []

    def guest():
        head, arrays = session.receive(theirs)
        session.send(theirs, frames.encode({"back": head["id"]}, arrays))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, guest)
        await ours.send(frames.encode({"id": 1}, sent))
        got.extend(await ours.receive(1 << 30))
    head, arrays = got
    assert head == {"back": 1}
    assert all(np.array_equal(before, after) for before, after in zip(sent, arrays, strict=True))


@pytest.mark.parametrize("kept", [0, 1, 23, 24, 30, 100, 150])
async def test_a_frame_that_is_cut_off_ends_with_the_channel(ends, kept):
    ours, theirs = ends
    theirs.sendall(frame(np.arange(10.0))[:kept])
    theirs.close()
    with anyio.fail_after(5), pytest.raises(ChannelClosedError):
        await ours.receive(LIMIT)


@pytest.mark.parametrize(
    ("head_bytes", "block_bytes", "arrays", "body_bytes"),
    [
        (MOST, MOST, 0, 0),
        (2, MOST, 0, 0),
        (2, 2, MOST, 0),
        (2, 2, 1, 2**64 - 1),
        (2, 2, 1, LIMIT + 1),
    ],
)
async def test_huge_lengths_are_refused_before_anything_is_allocated(ends, head_bytes, block_bytes, arrays, body_bytes):
    ours, theirs = ends
    theirs.sendall(struct.pack(">4sIIIQ", b"FLM1", head_bytes, block_bytes, arrays, body_bytes) + b"{}")
    tracemalloc.start()
    try:
        with anyio.fail_after(5), pytest.raises(frames.FrameError):
            await ours.receive(LIMIT)
        assert tracemalloc.get_traced_memory()[1] < LIMIT
    finally:
        tracemalloc.stop()


async def test_more_than_one_frame_may_wait(ends):
    ours, theirs = ends
    theirs.sendall(frame(np.arange(3)) + frame())
    assert (await ours.receive(LIMIT))[1][0].tolist() == [0, 1, 2]
    assert (await ours.receive(LIMIT)) == ({"id": 1}, [])


async def test_what_arrived_before_the_channel_was_shut_is_read(ends):
    ours, theirs = ends
    theirs.sendall(frame())
    ours.shut()
    assert await ours.receive(LIMIT) == ({"id": 1}, [])
    with pytest.raises(ChannelClosedError):
        await ours.receive(LIMIT)


async def test_sending_to_nobody_is_noticed(ends):
    ours, theirs = ends
    theirs.close()
    with pytest.raises(ChannelClosedError):
        await ours.send(frames.encode({"id": 1}, [np.zeros(1_000_000)]))
