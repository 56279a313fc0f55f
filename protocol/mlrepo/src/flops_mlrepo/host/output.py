"""What the code prints, line by line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from anyio.abc import ByteReceiveStream

OutputSink = Callable[[str, str], None]
"""Called with `stdout` or `stderr` and one line without its end; must not block."""

_MAX_LINE_BYTES = 16_384


async def read_lines(stream: ByteReceiveStream, name: str, sink: OutputSink) -> None:
    """Hands every line to the sink until the stream ends; an overlong line comes in pieces.

    Of a line that was rewritten with carriage returns, as progress bars do, only the last state is given.
    """
    pending = b""
    while True:
        try:
            chunk = await stream.receive(65_536)
        except (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError):
            break
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            _hand_over(line, name, sink)
        while len(pending) > _MAX_LINE_BYTES:
            _hand_over(pending[:_MAX_LINE_BYTES], name, sink)
            pending = pending[_MAX_LINE_BYTES:]
    if pending:
        _hand_over(pending, name, sink)


def _hand_over(line: bytes, name: str, sink: OutputSink) -> None:
    text = line.decode("utf-8", "replace").rstrip("\r")
    sink(name, text.rpartition("\r")[2])
