"""What comes in over the bus. A handler keeps what is said, and returns; what follows from it is the reconciler's."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar

import anyio
import structlog
from anyio.abc import TaskGroup
from flops_protocol.bus import Bus, Received
from flops_protocol.channels import (
    AGGREGATOR_ERRORS,
    AGGREGATOR_STATUS,
    BUILDER_ERRORS,
    BUILDER_STATUS,
    CANCEL,
    LEARNER_ERRORS,
    LEARNER_STATUS,
    LIST,
    PLAN,
    PLAN_STATUS,
    REPLAY,
    RETRY,
    ROUNDS,
    SHOW,
    SUBMIT,
)
from flops_protocol.errors import FlopsError
from flops_protocol.messages._base import Message
from flops_protocol.messages.actors import AggregatorStatus, BuilderStatus, LearnerStatus, RoundReport
from flops_protocol.messages.project import ErrorReport, Role
from flops_protocol.messages.requests import (
    CancelRequest,
    ListRequest,
    PlanRequest,
    ReplayRequest,
    Reply,
    RetryRequest,
    ShowRequest,
    SubmitRequest,
)
from flops_protocol.sla_reader import SlaError

from flops_manager.crash import crash_point
from flops_manager.plan import Planner
from flops_manager.requests import Desk
from flops_manager.store.rows import StoredReport
from flops_manager.store.store import Receipt, Store

log = structlog.get_logger(__name__)

M = TypeVar("M", bound=Message)

MAX_PLANS = 4
"""Plans at once: each asks a repository's host, and waits for it."""


class Broken:
    """The database failed. What was taken in then is not acknowledged: the next manager gets it again."""

    def __init__(self) -> None:
        """Nothing has failed yet."""
        self._error: sqlite3.Error | None = None
        self._failed = anyio.Event()

    async def watch(self) -> None:
        """Ends the manager when the database has failed.

        :raises sqlite3.Error: why
        """
        await self._failed.wait()
        assert self._error is not None  # noqa: S101
        raise self._error

    def guard(self, handler: Callable[[Received[M]], Awaitable[None]]) -> Callable[[Received[M]], Awaitable[None]]:
        """The handler, which does not return once the database has failed."""

        async def guarded(received: Received[M]) -> None:
            try:
                await handler(received)
            except sqlite3.Error as error:
                self._error = error
                self._failed.set()
                await anyio.sleep_forever()

        return guarded


class Handlers:
    """Every channel that the manager listens to."""

    def __init__(
        self,
        bus: Bus,
        store: Store,
        desk: Desk,
        planner: Planner,
        wake: Callable[[str], None],
        clock: Callable[[], datetime],
        broken: Broken,
    ) -> None:
        """`wake` is called with every project of which something was said."""
        self._broken = broken
        self._bus = bus
        self._store = store
        self._desk = desk
        self._planner = planner
        self._wake = wake
        self._clock = clock
        self._plans = anyio.CapacityLimiter(MAX_PLANS)
        self._group: TaskGroup | None = None

    def register(self, group: TaskGroup) -> None:
        """Before the bus runs. What takes long is done in `group`, so that nobody waits behind it."""
        self._group = group
        bus, guard = self._bus, self._broken.guard
        bus.on(SUBMIT, guard(self._submit))
        bus.on(PLAN, guard(self._plan))
        bus.on(PLAN_STATUS, self._planner.forecasts.on_status)
        bus.on(LIST, guard(self._list))
        bus.on(SHOW, guard(self._show))
        bus.on(CANCEL, guard(self._cancel))
        bus.on(RETRY, guard(self._retry))
        bus.on(REPLAY, guard(self._replay))
        bus.on(BUILDER_STATUS, guard(self._builder_status))
        bus.on(AGGREGATOR_STATUS, guard(self._aggregator_status))
        bus.on(LEARNER_STATUS, guard(self._learner_status))
        bus.on(ROUNDS, guard(self._round))
        bus.on(BUILDER_ERRORS, guard(self._error))
        bus.on(AGGREGATOR_ERRORS, guard(self._error))
        bus.on(LEARNER_ERRORS, guard(self._error))

    async def _submit(self, received: Received[SubmitRequest]) -> None:
        await self._answer(received, "submit", lambda: self._desk.submit(received.message, Receipt.of(received)))

    async def _cancel(self, received: Received[CancelRequest]) -> None:
        await self._answer(received, "cancel", lambda: self._desk.cancel(received.message, Receipt.of(received)))

    async def _retry(self, received: Received[RetryRequest]) -> None:
        await self._answer(received, "retry", lambda: self._desk.retry(received.message, Receipt.of(received)))

    async def _list(self, received: Received[ListRequest]) -> None:
        await self._answer(received, "list", lambda: self._desk.list(received.message))

    async def _show(self, received: Received[ShowRequest]) -> None:
        await self._answer(received, "show", lambda: self._desk.show(received.message))

    async def _replay(self, received: Received[ReplayRequest]) -> None:
        await self._answer(received, "replay", lambda: self._desk.replay(received.message))

    async def _plan(self, received: Received[PlanRequest]) -> None:
        assert self._group is not None  # noqa: S101
        self._group.start_soon(self._plan_slowly, received)

    async def _plan_slowly(self, received: Received[PlanRequest]) -> None:
        async def plan() -> Reply:
            report = await self._planner.plan(received.message)
            return Reply(verb="plan", plan=report, notices=report.notices)

        async with self._plans:
            try:
                await self._answer(received, "plan", plan)
            except Exception:
                log.exception("a plan failed")

    async def _answer(self, received: Received[Any], verb: str, ask: Callable[[], Awaitable[Reply]]) -> None:
        """Answers; an answer that nobody can take is no reason to do it all again."""
        try:
            reply = await ask()
        except SlaError as error:
            reply = Reply(verb=verb, error=error.body, mistakes=error.mistakes)
        except FlopsError as error:
            reply = Reply(verb=verb, error=error.body)
        crash_point(f"{verb}.before-reply")
        try:
            await self._bus.reply(received, reply)
        except FlopsError as error:
            log.warning("an answer was not taken", verb=verb, error=str(error))

    async def _builder_status(self, received: Received[BuilderStatus]) -> None:
        await self._keep_report(received, Role.BUILDER, received.message.instance)

    async def _aggregator_status(self, received: Received[AggregatorStatus]) -> None:
        await self._keep_report(received, Role.AGGREGATOR, received.message.instance)

    async def _learner_status(self, received: Received[LearnerStatus]) -> None:
        if received.message.learner != received.parameters["learner"]:
            raise FlopsError("FLOPS-P002", f"{received.topic} is about {received.message.learner}")
        await self._keep_report(received, Role.LEARNER, received.message.learner)

    async def _keep_report(
        self,
        received: Received[BuilderStatus] | Received[AggregatorStatus] | Received[LearnerStatus],
        role: Role,
        instance: str,
    ) -> None:
        project = self._project(received)
        if project is None:
            return
        report = StoredReport(
            role=role,
            epoch=received.envelope.epoch,
            at=self._clock(),
            status=received.message.model_dump_json().encode(),
        )
        await self._store.keep_report(project, instance, report, Receipt.of(received))
        self._wake(project)

    async def _round(self, received: Received[RoundReport]) -> None:
        # `projects/P/aggregator/I`: the message itself does not say which aggregator it is of.
        instance = received.envelope.source.rpartition("/")[2]
        await self._keep_fact(received, "round", instance)

    async def _error(self, received: Received[ErrorReport]) -> None:
        await self._keep_fact(received, "error", received.message.instance)

    async def _keep_fact(
        self, received: Received[RoundReport] | Received[ErrorReport], kind: str, instance: str
    ) -> None:
        project = self._project(received)
        if project is None:
            return
        message = received.message.model_dump_json().encode()
        await self._store.keep_fact(project, instance, kind, message, Receipt.of(received))
        self._wake(project)

    def _project(self, received: Received[Any]) -> str | None:
        """The project that a message is about; None when it is over, and so whatever is said of it.

        :raises FlopsError: FLOPS-P002 when topic and message differ about it
        """
        project = received.parameters["project"]
        if received.message.project != project:
            raise FlopsError("FLOPS-P002", f"{received.topic} is about {received.message.project}")
        return project if project in self._store.live else None
