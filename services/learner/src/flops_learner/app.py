"""Puts the learner together."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime

import anyio
import structlog
from anyio import create_task_group, move_on_after
from flops_federation.adapters.options import StreamOptions
from flops_mlrepo.host import DataSource, WorkerSettings
from flops_protocol.bus import Bus, Identity, Testament
from flops_protocol.channels import LEARNER_LOG, LEARNER_STATUS
from flops_protocol.errors import ErrorBody, FlopsError
from flops_protocol.messages.actors import LearnerState, LearnerStatus, LogLines
from flops_protocol.process.log_lines import MAX_CHARACTERS, LineCollector
from flops_protocol.process.start import configure_log, read_settings, serve

from flops_learner.adapters.ml_worker import open_model
from flops_learner.adapters.mqtt import connect
from flops_learner.announcing import LearnerAnnouncer
from flops_learner.desk import Desk, Wish
from flops_learner.handlers import Handlers
from flops_learner.learning import Instructions, WorkerEndedError
from flops_learner.session import Session, Ticket
from flops_learner.settings import Settings

KIND = "learner"
FAREWELL_SECONDS = 3.0
TAIL_LINES = 50

log = structlog.get_logger()


class Learner:
    """One learner's life: from `ready` through a training to the end that the manager sets."""

    def __init__(self, settings: Settings, bus: Bus, lines: LineCollector) -> None:
        self._settings = settings
        self._bus = bus
        self._lines = lines
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._desk = Desk(settings.instance)
        self._announcer = LearnerAnnouncer(bus, settings.project, settings.instance, settings.node)
        Handlers(self._desk).register(bus, settings.project)

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
                self._announcer.stand(state=LearnerState.STOPPED)
                await self._announcer.said()
            group.cancel_scope.cancel()

    async def _stop_when(self, event: anyio.Event, scope: anyio.CancelScope) -> None:
        await event.wait()
        scope.cancel()

    async def _work(self) -> None:
        self._announcer.stand(state=LearnerState.READY)
        wish = await self._desk.wish()
        try:
            await self._learn(wish)
        except FlopsError as error:
            self._fail(error)
        except Exception as error:
            log.exception("the learner broke off")
            self._fail(FlopsError("FLOPS-P010", f"{type(error).__name__}: {error}"))

    async def _learn(self, wish: Wish) -> None:
        lives = self._settings.worker_lives
        for life in range(1, lives + 1):
            try:
                reason = await self._live(wish)
            except WorkerEndedError as error:
                if life == lives or self._announcer.status.state is LearnerState.LOADING_DATA:
                    raise
                log.warning("the ML worker is started again", life=life + 1, reason=str(error))
            else:
                log.info("dismissed", reason=reason)
                self._announcer.stand(state=LearnerState.DONE)
                return

    async def _live(self, wish: Wish) -> str:
        self._announcer.stand(state=LearnerState.LOADING_DATA, command=wish.command.command)
        settings = self._worker_settings(wish)
        async with open_model(settings, self._take_output, wish.command.load_seconds) as model:
            self._announcer.stand(rows=model.rows)
            log.info("data loaded", rows=model.rows)
            instructions = Instructions(model, self._begin_round, self._report)
            ticket = Ticket(
                self._settings.instance,
                wish.assignment.token,
                self._bus.identity.epoch,
                {} if model.rows is None else {"rows": model.rows},
            )
            options = StreamOptions(keepalive_timeout_seconds=self._settings.keepalive_timeout_seconds)
            return await Session(self._desk, instructions, ticket, self._joined, options).run()

    def _joined(self) -> None:
        log.info("joined")
        if self._announcer.status.state is not LearnerState.TRAINING:
            self._announcer.stand(state=LearnerState.JOINED)

    def _begin_round(self, number: int) -> None:
        self._announcer.stand(state=LearnerState.TRAINING, round=number)

    def _report(self, error: ErrorBody) -> None:
        self._announcer.report(error, list(self._tail))

    def _fail(self, error: FlopsError) -> None:
        log.error("the learner failed", error=str(error))
        self._report(error.body)
        self._announcer.stand(state=LearnerState.FAILED, error=error.body)

    def _worker_settings(self, wish: Wish) -> WorkerSettings:
        settings, assignment = self._settings, wish.assignment
        resources = wish.spec.sla.resource_constraints
        return WorkerSettings(
            python=settings.python,
            mlenv=settings.packages or settings.image_root / "mlenv",
            code=settings.image_root / "code",
            data=DataSource(settings.data_dir, list(assignment.data_tags), assignment.part, assignment.parts),
            memory_bytes=resources.memory_limit_bytes,
            threads=resources.vcpus,
            prefix=settings.image_root / "mlenv" if settings.packages else None,
        )

    def _take_output(self, _stream: str, line: str) -> None:
        self._tail.append(line[:MAX_CHARACTERS])
        self._lines.add("code", line)

    def _say_lines(self, message: LogLines) -> None:
        self._announcer.say(LEARNER_LOG, message)


async def run(settings: Settings, bus: Bus, *, stop: anyio.Event, lines: LineCollector | None = None) -> None:
    """Runs the learner until the manager ends it or `stop` is set.

    :raises FlopsError: FLOPS-P006 when the broker cannot be reached at start
    """
    await Learner(settings, bus, lines or LineCollector(settings.project, settings.instance)).run(stop)


def main() -> None:
    """Runs the learner that this process's environment describes."""
    settings = read_settings(Settings)
    lines = LineCollector(settings.project, settings.instance)
    configure_log(lines)
    lost = LearnerStatus(
        project=settings.project,
        learner=settings.instance,
        node=settings.node,
        state=LearnerState.LOST,
        since=datetime.now(UTC),
    )
    testament = Testament(LEARNER_STATUS, lost, {"project": settings.project, "learner": settings.instance})
    identity = Identity(KIND, settings.instance, settings.project)
    bus = connect(settings.broker, identity, testament, settings.credential_file)
    serve(lambda stop: run(settings, bus, stop=stop, lines=lines))
