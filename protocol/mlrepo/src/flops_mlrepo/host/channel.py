"""The host's end of the socket pair, on the event loop."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import anyio

from flops_mlrepo import frames

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

# Linux takes at most this many buffers in one call.
_MAX_BUFFERS = 1024
_BUFFER_BYTES = 4 << 20


class ChannelClosedError(Exception):
    """Raised when the worker's end is closed, be it in the middle of a frame."""


class Channel:
    """Sends and receives whole frames. A call that was cancelled leaves the channel unusable."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            # The kernel caps this silently; every bit saves a change between the two processes.
            end.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
        self._socket = end

    async def send(self, buffers: Sequence[frames.Buffer]) -> None:
        """Sends all buffers, without joining them.

        :raises ChannelClosedError: when the worker is gone
        """
        left = [memoryview(buffer) for buffer in buffers]
        while left:
            try:
                sent = self._socket.sendmsg(left[:_MAX_BUFFERS])
            except BlockingIOError:
                await anyio.wait_writable(self._socket)
                continue
            except OSError as error:
                raise ChannelClosedError from error
            done = 0
            while done < len(left) and sent >= left[done].nbytes:
                sent -= left[done].nbytes
                done += 1
            del left[:done]
            if sent:
                left[0] = left[0][sent:]

    async def receive(self, max_body_bytes: int) -> tuple[frames.Head, list[np.ndarray]]:
        """One frame, its arrays read into place.

        :raises ChannelClosedError: when the worker is gone
        :raises FrameError: when the bytes are no frame, or announce more than is allowed
        """
        start = bytearray(frames.PREFIX_BYTES)
        await self._fill(memoryview(start))
        prefix = frames.parse_prefix(memoryview(start), max_body_bytes)
        block = bytearray(prefix.block_bytes)
        await self._fill(memoryview(block))
        head, arrays, views = frames.parse_block(prefix, bytes(block))
        for view in views:
            await self._fill(view)
        return head, arrays

    async def _fill(self, view: memoryview) -> None:
        while view.nbytes:
            try:
                count = self._socket.recv_into(view)
            except BlockingIOError:
                await anyio.wait_readable(self._socket)
                continue
            except OSError as error:
                raise ChannelClosedError from error
            if count == 0:
                raise ChannelClosedError
            view = view[count:]

    def shut(self) -> None:
        """Wakes a waiting receive with :class:`ChannelClosedError`, once what has arrived is read."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            # The other end is closed already, which is as good.
            return

    def close(self) -> None:
        """Closes our end; the worker then ends by itself."""
        self._socket.close()
