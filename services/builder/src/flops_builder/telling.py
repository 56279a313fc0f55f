"""What the mesh hears of a running build: the newest progress, and every line, without holding the build up."""

from __future__ import annotations

from collections import deque

import anyio
from flops_protocol.bus import Bus
from flops_protocol.channels import BUILD_PROGRESS, BUILDER_LOG
from flops_protocol.identifiers import InstanceName, ProjectId
from flops_protocol.messages.actors import BuildPhase, BuildProgress
from flops_protocol.process.log_lines import MAX_CHARACTERS, LineCollector, Stream

PERIOD_SECONDS = 0.2
TAIL = 50


class Telling:
    """A `Report` that is sent on at most five times a second."""

    def __init__(self, bus: Bus, project: ProjectId, instance: InstanceName) -> None:
        self._bus = bus
        self._project = project
        self._progress: BuildProgress | None = None
        self._lines = LineCollector(project, instance)
        self._news = anyio.Event()
        self.tail: deque[str] = deque(maxlen=TAIL)
        """The last lines of all."""

    def progress(
        self,
        phase: BuildPhase,
        percent: float,
        detail: str,
        *,
        bytes_done: int | None,
        bytes_total: int | None,
        estimate_seconds: float | None,
    ) -> None:
        """See `Report.progress`."""
        self._progress = BuildProgress(
            project=self._project,
            phase=phase,
            percent=percent,
            detail=detail[:MAX_CHARACTERS],
            bytes_done=bytes_done,
            bytes_total=bytes_total,
            estimate_seconds=estimate_seconds,
        )
        self._news.set()

    def log(self, lines: list[str], stream: Stream) -> None:
        """See `Report.log`."""
        for line in lines:
            self._lines.add(stream, line)
            self.tail.append(line[:MAX_CHARACTERS])
        self._news.set()

    async def run(self) -> None:
        """Sends on what has come, until it is cancelled."""
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            await self.flush()
            await anyio.sleep(PERIOD_SECONDS)

    async def flush(self) -> None:
        """Sends everything that waits.

        :raises FlopsError: as `Bus.send`
        """
        for message in self._lines.drain():
            await self._bus.publish(BUILDER_LOG, message, project=self._project)
        if self._progress is not None:
            progress, self._progress = self._progress, None
            await self._bus.publish(BUILD_PROGRESS, progress, project=self._project)
