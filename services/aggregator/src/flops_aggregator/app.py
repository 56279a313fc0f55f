"""Puts the aggregator together."""

from __future__ import annotations

import signal
import sys
from datetime import UTC, datetime
from typing import Any

import anyio
import structlog
from anyio import create_task_group, move_on_after, open_signal_receiver
from flops_protocol.bus import Bus, Identity, Testament
from flops_protocol.channels import AGGREGATOR_LOG, AGGREGATOR_STATUS
from flops_protocol.errors import FlopsError
from flops_protocol.messages.actors import AggregatorState, AggregatorStatus, LogLines

from flops_aggregator import log_lines
from flops_aggregator.adapters.mqtt import connect
from flops_aggregator.announcing import Announcer
from flops_aggregator.conduct import Conductor
from flops_aggregator.desk import Desk
from flops_aggregator.handlers import Handlers
from flops_aggregator.roster import Roster
from flops_aggregator.settings import Settings

KIND = "aggregator"
FAREWELL_SECONDS = 3.0

log = structlog.get_logger()


class Aggregator:
    """One aggregator's life: from `ready` through a training to the end that the manager sets."""

    def __init__(self, settings: Settings, bus: Bus, lines: log_lines.LogLines) -> None:
        self._settings = settings
        self._bus = bus
        self._lines = lines
        self._desk = Desk()
        self._announcer = Announcer(bus, settings.project, settings.instance)
        self._roster = Roster(lambda _learner, error: self._announcer.report(error, fatal=False))
        self._conductor: Conductor | None = None
        Handlers(self._desk, self._roster, self._close_stream).register(bus, settings.project)

    async def run(self, stop: anyio.Event) -> None:
        """Lives until the manager says `stop`, or `stop` is set."""
        async with create_task_group() as group:
            await group.start(self._bus.run)
            group.start_soon(self._announcer.run)
            group.start_soon(self._lines.run, self._say_lines)
            async with create_task_group() as work:
                work.start_soon(self._work)
                work.start_soon(self._stop_when, stop, work.cancel_scope)
                work.start_soon(self._stop_when, self._desk.stop_wanted, work.cancel_scope)
            with move_on_after(FAREWELL_SECONDS):
                self._lines.flush(self._say_lines)
                self._announcer.stand(state=AggregatorState.STOPPED, endpoint=None, joined=[])
                await self._announcer.said()
            group.cancel_scope.cancel()

    async def _stop_when(self, event: anyio.Event, scope: anyio.CancelScope) -> None:
        await event.wait()
        scope.cancel()

    async def _work(self) -> None:
        self._announcer.stand(state=AggregatorState.READY)
        wish = await self._desk.wish()
        self._conductor = Conductor(self._settings, wish, self._roster, self._announcer, self._take_output)
        try:
            await self._conductor.run()
        except FlopsError as error:
            self._fail(error)
        except Exception as error:
            log.exception("the training broke off")
            self._fail(FlopsError("FLOPS-P010", f"{type(error).__name__}: {error}"))

    def _fail(self, error: FlopsError) -> None:
        log.error("the training failed", error=str(error))
        self._announcer.report(error.body, fatal=True)
        self._announcer.stand(state=AggregatorState.FAILED, error=error.body, endpoint=None, joined=[])

    def _close_stream(self, learner: str, reason: str) -> None:
        if self._conductor is not None:
            self._conductor.close_stream(learner, reason)

    def _take_output(self, _stream: str, line: str) -> None:
        self._lines.add("code", line)

    def _say_lines(self, stream: log_lines.Stream, lines: list[str]) -> None:
        message = LogLines(
            project=self._settings.project,
            instance=self._settings.instance,
            stream=stream,
            at=datetime.now(UTC),
            lines=lines,
        )
        self._announcer.say(AGGREGATOR_LOG, message)


async def run(settings: Settings, bus: Bus, lines: log_lines.LogLines | None = None) -> None:
    """Runs the aggregator until the manager or a signal ends it.

    :raises FlopsError: FLOPS-P006 when the broker cannot be reached at start
    """
    stop = anyio.Event()
    async with create_task_group() as group:
        group.start_soon(_wait_for_signal, stop)
        await Aggregator(settings, bus, lines or log_lines.LogLines()).run(stop)
        group.cancel_scope.cancel()


def main() -> None:
    """Runs the aggregator that this process's environment describes."""
    settings = Settings()
    lines = log_lines.LogLines()
    _configure_log(lines)
    identity = Identity(KIND, settings.instance, settings.project)
    lost = AggregatorStatus(
        project=settings.project, instance=settings.instance, state=AggregatorState.LOST, since=datetime.now(UTC)
    )
    testament = Testament(AGGREGATOR_STATUS, lost, {"project": settings.project})
    bus = connect(settings.broker, identity, testament, settings.credential_file)
    try:
        anyio.run(run, settings, bus, lines)
    except* FlopsError as errors:
        log.error("the aggregator ends", errors=[str(error) for error in errors.exceptions])  # noqa: TRY400 - said it all
        raise SystemExit(1) from None


async def _wait_for_signal(stop: anyio.Event) -> None:
    with open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            stop.set()


def _configure_log(lines: log_lines.LogLines) -> None:
    def to_bus(_logger: Any, _method: str, event: Any) -> Any:
        lines.add("mesh", str(event))
        return event

    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
            to_bus,
        ],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
