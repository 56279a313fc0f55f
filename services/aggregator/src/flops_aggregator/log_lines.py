"""Log lines on their way to the bus: collected, cut, and sent by the hundred."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal

import anyio

Stream = Literal["mesh", "code"]
Sink = Callable[[Stream, list[str]], None]

PERIOD_SECONDS = 0.25
MAX_LINES = 100
MAX_CHARACTERS = 2000
"""100 such lines fit into a message."""
BACKLOG = 2000
"""Lines that may wait; code that prints faster than this in a period loses its oldest lines, and is told so."""


class LogLines:
    """Takes lines from anywhere on the event loop and hands them on in batches."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Stream, str]] = deque()
        self._left_out = 0
        self._fresh = anyio.Event()

    def add(self, stream: Stream, line: str) -> None:
        """Takes a line; never blocks."""
        if len(self._waiting) >= BACKLOG:
            self._waiting.popleft()
            self._left_out += 1
        self._waiting.append((stream, line[:MAX_CHARACTERS]))
        self._fresh.set()

    def drain(self) -> list[tuple[Stream, list[str]]]:
        """Everything that waits, in batches of one stream each."""
        batches: list[tuple[Stream, list[str]]] = []
        if self._left_out:
            batches.append(("mesh", [f"… {self._left_out} lines were left out"]))
            self._left_out = 0
        while self._waiting:
            stream, line = self._waiting.popleft()
            if batches and batches[-1][0] == stream and len(batches[-1][1]) < MAX_LINES:
                batches[-1][1].append(line)
            else:
                batches.append((stream, [line]))
        return batches

    async def run(self, sink: Sink) -> None:
        """Hands batches to `sink` until it is cancelled."""
        while True:
            await self._fresh.wait()
            await anyio.sleep(PERIOD_SECONDS)
            self._fresh = anyio.Event()
            self.flush(sink)

    def flush(self, sink: Sink) -> None:
        """Hands on what waits now."""
        for stream, lines in self.drain():
            sink(stream, lines)
