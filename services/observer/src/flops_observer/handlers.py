"""What the observer does with each message. A handler returns when the message is kept; telling comes after."""

from __future__ import annotations

from typing import Any

from flops_protocol.bus import Bus, Received
from flops_protocol.channels import (
    AGGREGATOR_LOG,
    AGGREGATOR_STATUS,
    BUILD_PROGRESS,
    BUILDER_LOG,
    BUILDER_STATUS,
    HISTORY,
    LEARNER_LOG,
    LEARNER_STATUS,
    LOGS,
    PROJECT_EVENTS,
    PROJECT_STATUS,
    ROUNDS,
    SPEC,
    Channel,
)
from flops_protocol.errors import FlopsError
from flops_protocol.messages.actors import LogLines
from flops_protocol.messages.project import ProjectEvent
from flops_protocol.messages.requests import HistoryRequest, LogsRequest, Reply

from flops_observer.desk import Desk
from flops_observer.projection import State
from flops_observer.timeline import entry

STATES: tuple[Channel[Any], ...] = (
    SPEC,
    PROJECT_STATUS,
    BUILDER_STATUS,
    BUILD_PROGRESS,
    AGGREGATOR_STATUS,
    LEARNER_STATUS,
    ROUNDS,
)
LOG_CHANNELS: tuple[Channel[LogLines], ...] = (BUILDER_LOG, AGGREGATOR_LOG, LEARNER_LOG)


class Handlers:
    """The observer's side of its channels."""

    def __init__(self, desk: Desk, bus: Bus) -> None:
        self._desk = desk
        self._bus = bus

    def register(self) -> None:
        """Has the bus call us. Before the bus runs."""
        self._bus.on(PROJECT_EVENTS, self.on_event)
        for channel in STATES:
            self._bus.on(channel, self.on_state)
        for log in LOG_CHANNELS:
            self._bus.on(log, self.on_log)
        self._bus.on(HISTORY, self.on_history)
        self._bus.on(LOGS, self.on_logs)

    async def on_event(self, received: Received[ProjectEvent]) -> None:
        """An event of a project's history."""
        await self._desk.take_events(received.message.project, [received.message])

    async def on_state(self, received: Received[State]) -> None:
        """A retained status, a progress, or a round."""
        await self._desk.take_state(
            received.message, topic=received.topic, channel=received.channel.name, at=received.envelope.time
        )

    async def on_log(self, received: Received[LogLines]) -> None:
        """Lines that a process of a project wrote."""
        await self._desk.take_log(received.envelope.id, received.channel.writer, received.message)

    async def on_history(self, received: Received[HistoryRequest]) -> None:
        """Somebody asks for a timeline."""
        asked = received.message
        view = await self._desk.view(asked.project)
        if view.updated_at is None:
            await self._bus.reply(received, _unknown("history", asked.project))
            return
        events = await self._desk.events(asked.project, after=asked.after, limit=asked.limit)
        more = bool(events) and events[-1].sequence < view.applied
        await self._bus.reply(
            received,
            Reply(
                verb="history",
                project=asked.project,
                timeline=[entry(event) for event in events],
                next=events[-1].sequence if more else None,
            ),
        )

    async def on_logs(self, received: Received[LogsRequest]) -> None:
        """Somebody asks for log lines."""
        asked = received.message
        view = await self._desk.view(asked.project)
        if view.updated_at is None:
            await self._bus.reply(received, _unknown("logs", asked.project))
            return
        page = await self._desk.logs(
            asked.project,
            role=None if asked.role is None else asked.role.value,
            instance=asked.instance,
            after=asked.after,
            limit=asked.limit,
        )
        await self._bus.reply(received, Reply(verb="logs", project=asked.project, logs=page.lines, next=page.next))


def _unknown(verb: str, project: str) -> Reply:
    return Reply(verb=verb, error=FlopsError("FLOPS-S003", f"The observer has not heard of {project}").body)
