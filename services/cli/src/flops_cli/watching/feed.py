"""Everything that is said of a project, as one ordered stream: its past first, then what happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from anyio import WouldBlock, create_memory_object_stream, current_time, move_on_after
from anyio.streams.memory import MemoryObjectReceiveStream
from flops_protocol.bus import Bus, Received
from flops_protocol.channels import BUILD_PROGRESS, HISTORY, PROJECT_STATUS, ROUNDS, SUMMARY, TIMELINE, Channel
from flops_protocol.errors import FlopsError
from flops_protocol.messages.actors import BuildProgress, RoundReport
from flops_protocol.messages.observer import Summary, TimelineEntry
from flops_protocol.messages.project import ProjectStatus
from flops_protocol.messages.requests import HistoryRequest

from flops_cli.session import ask

Item = TimelineEntry | Summary | BuildProgress | RoundReport | ProjectStatus

CHANNELS: tuple[Channel[Any], ...] = (TIMELINE, SUMMARY, BUILD_PROGRESS, ROUNDS, PROJECT_STATUS)
BUFFER = 10_000
LAST_LINES_SECONDS = 3.0
"""How long to wait at the end for the lines that are still missing."""


@asynccontextmanager
async def follow(bus: Bus, project: str, *, since: int = 0) -> AsyncIterator[AsyncIterator[Item]]:
    """What is said of a project: timeline lines in their order, each once, from the first; everything else as it comes.

    The stream ends after the project's status says that it ended, and the lines up to there were given. An end at or
    before the sequence `since` is that of an earlier attempt.
    """
    send, receive = create_memory_object_stream[Item](BUFFER)

    async def on_item(received: Received[Any]) -> None:
        try:
            send.send_nowait(received.message)
        except WouldBlock:
            # Whoever reads is far behind. Lines are asked for again, and of the rest only the newest counts.
            receive.receive_nowait()
            send.send_nowait(received.message)

    with send, receive:
        for channel in CHANNELS:
            await bus.subscribe(channel, on_item, project=project)
        yield _ordered(bus, project, receive, since)


async def _ordered(
    bus: Bus, project: str, arriving: MemoryObjectReceiveStream[Item], since: int
) -> AsyncIterator[Item]:
    lines = _Lines(bus, project)
    for line in await lines.refill():
        yield line
    async for item in arriving:
        if isinstance(item, TimelineEntry):
            for line in await lines.take(item):
                yield line
        elif isinstance(item, ProjectStatus) and item.stage.ended and item.sequence > since:
            async for rest in _rest(lines, arriving, item.sequence):
                yield rest
            yield item
            return
        else:
            yield item


async def _rest(lines: _Lines, arriving: MemoryObjectReceiveStream[Item], last: int) -> AsyncIterator[Item]:
    """What still comes after the end was known: the observer is a step behind the manager."""
    until = current_time() + LAST_LINES_SECONDS
    summary_due = True
    while (lines.position < last or summary_due) and not lines.silent and current_time() < until:
        item: Item | None = None
        with move_on_after(0.5):
            item = await arriving.receive()
        if isinstance(item, TimelineEntry):
            for line in await lines.take(item):
                yield line
        elif item is not None:
            yield item
            if isinstance(item, Summary) and item.stage.ended:
                summary_due = False
        elif lines.position < last:
            for line in await lines.refill():
                yield line


class _Lines:
    """Timeline lines, each once and in order; what is missing is asked for."""

    def __init__(self, bus: Bus, project: str) -> None:
        self._bus, self._project = bus, project
        self.position = 0
        self.silent = False
        """Whether the observer did not answer when it was asked last."""

    async def take(self, line: TimelineEntry) -> list[TimelineEntry]:
        """The lines that are due now that this one is here."""
        if line.position <= self.position:
            return []
        due = await self.refill() if line.position > self.position + 1 else []
        if line.position == self.position + 1:
            self.position = line.position
            due.append(line)
        return due

    async def refill(self) -> list[TimelineEntry]:
        """The lines after the last one, from the observer's history; none when it does not know or does not answer."""
        found: list[TimelineEntry] = []
        try:
            while True:
                request = HistoryRequest(project=self._project, after=self.position)
                reply = await ask(self._bus, HISTORY, request, timeout=2.0)
                found += reply.timeline or []
                if found:
                    self.position = found[-1].position
                if reply.next is None:
                    self.silent = False
                    return found
        except FlopsError as error:
            # Lines are for reading along. Whoever has no observer still sees the project's end.
            self.silent = error.body.code == "FLOPS-P008"
            return found
