"""Puts the aggregator together."""

from __future__ import annotations

from datetime import UTC, datetime

import anyio
import structlog
from anyio import create_task_group, move_on_after
from flops_protocol.bus import Bus, Identity, Testament
from flops_protocol.channels import AGGREGATOR_LOG, AGGREGATOR_STATUS
from flops_protocol.errors import FlopsError
from flops_protocol.messages.actors import AggregatorState, AggregatorStatus, LogLines
from flops_protocol.process.log_lines import LineCollector
from flops_protocol.process.start import configure_log, read_settings, serve

from flops_aggregator.adapters.mqtt import connect
from flops_aggregator.announcing import AggregatorAnnouncer
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

    def __init__(self, settings: Settings, bus: Bus, lines: LineCollector) -> None:
        self._settings = settings
        self._bus = bus
        self._lines = lines
        self._desk = Desk()
        self._announcer = AggregatorAnnouncer(bus, settings.project, settings.instance)
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

    def _say_lines(self, message: LogLines) -> None:
        self._announcer.say(AGGREGATOR_LOG, message)


async def run(settings: Settings, bus: Bus, *, stop: anyio.Event, lines: LineCollector | None = None) -> None:
    """Runs the aggregator until the manager ends it or `stop` is set.

    :raises FlopsError: FLOPS-P006 when the broker cannot be reached at start
    """
    await Aggregator(settings, bus, lines or LineCollector(settings.project, settings.instance)).run(stop)


def main() -> None:
    """Runs the aggregator that this process's environment describes."""
    settings = read_settings(Settings)
    lines = LineCollector(settings.project, settings.instance)
    configure_log(lines)
    lost = AggregatorStatus(
        project=settings.project, instance=settings.instance, state=AggregatorState.LOST, since=datetime.now(UTC)
    )
    testament = Testament(AGGREGATOR_STATUS, lost, {"project": settings.project})
    identity = Identity(KIND, settings.instance, settings.project)
    bus = connect(settings.broker, identity, testament, settings.credential_file)
    serve(lambda stop: run(settings, bus, stop=stop, lines=lines))
