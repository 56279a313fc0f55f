"""Log lines on their way to the bus: collected, cut, and sent by the hundred."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import groupby
from typing import Literal

import anyio

from flops_protocol.identifiers import InstanceName, ProjectId
from flops_protocol.messages.actors import LogLines

Stream = Literal["mesh", "code"]

PERIOD_SECONDS = 0.25
MAX_LINES = 100
MAX_CHARACTERS = 2000
"""100 such lines fit into a message."""
BACKLOG = 5000
"""Lines that may wait; code that prints faster than this in a period loses its oldest lines, and is told so."""


class LineCollector:
    """Takes lines from anywhere on the event loop and hands them on in batches."""

    def __init__(self, project: ProjectId, instance: InstanceName) -> None:
        self._project = project
        self._instance = instance
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

    def drain(self) -> list[LogLines]:
        """Everything that waits, in batches of one stream each."""
        batches: list[LogLines] = []
        if self._left_out:
            batches.append(self._message("mesh", [f"… {self._left_out} lines were left out"]))
            self._left_out = 0
        for stream, group in groupby(self._waiting, key=lambda each: each[0]):
            lines = [line for _, line in group]
            batches += [self._message(stream, lines[at : at + MAX_LINES]) for at in range(0, len(lines), MAX_LINES)]
        self._waiting.clear()
        return batches

    async def run(self, say: Callable[[LogLines], None]) -> None:
        """Hands batches to `say` until it is cancelled."""
        while True:
            await self._fresh.wait()
            await anyio.sleep(PERIOD_SECONDS)
            self._fresh = anyio.Event()
            self.flush(say)

    def flush(self, say: Callable[[LogLines], None]) -> None:
        """Hands on what waits now."""
        for message in self.drain():
            say(message)

    def _message(self, stream: Stream, lines: list[str]) -> LogLines:
        return LogLines(
            project=self._project, instance=self._instance, stream=stream, at=datetime.now(UTC), lines=lines
        )
