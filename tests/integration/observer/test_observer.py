"""The observer on a bus, with a manager that has a history: what people get to see."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from anyio import create_task_group, fail_after, sleep
from flops_observer.app import run
from flops_observer.settings import Settings
from flops_protocol.bus import Bus, Identity, Received
from flops_protocol.bus.memory import MemoryBroker, MemoryBus
from flops_protocol.channels import (
    BUILDER_LOG,
    HISTORY,
    LOGS,
    PROJECT_EVENTS,
    PROJECT_STATUS,
    REPLAY,
    SUMMARY,
    TIMELINE,
)
from flops_protocol.messages.actors import LogLines
from flops_protocol.messages.observer import Summary, TimelineEntry
from flops_protocol.messages.project import EventName, ProjectEvent, ProjectStage, ProjectStatus
from flops_protocol.messages.requests import HistoryRequest, LogsRequest, ReplayRequest, Reply

PROJECT = "digits-0a0b0c0d"
START = datetime(2025, 1, 1, tzinfo=UTC)
STAGES = [ProjectStage.ACCEPTED, ProjectStage.BUILDING, ProjectStage.DEPLOYING, ProjectStage.TRAINING]


def history(length: int) -> list[ProjectEvent]:
    return [
        ProjectEvent(
            project=PROJECT,
            sequence=number,
            name=EventName.STAGE_ENTERED if number <= len(STAGES) else EventName.NOTICE,
            at=START + timedelta(seconds=number),
            stage=STAGES[min(number, len(STAGES)) - 1],
            text=f"event {number}",
        )
        for number in range(1, length + 1)
    ]


class Manager:
    """A manager with a fixed history, which says of it what a test wants to be said."""

    def __init__(self, bus: Bus, events: list[ProjectEvent]) -> None:
        self.bus, self.events, self.asked = bus, events, 0
        bus.on(REPLAY, self.on_replay)

    async def on_replay(self, received: Received[ReplayRequest]) -> None:
        self.asked += 1
        wanted = [event for event in self.events if event.sequence > received.message.after]
        page = wanted[: received.message.limit]
        await self.bus.reply(received, Reply(verb="replay", events=page, next=page[-1].sequence if page else None))

    async def say(self, *sequences: int) -> None:
        for sequence in sequences:
            await self.bus.publish(PROJECT_EVENTS, self.events[sequence - 1], project=PROJECT)

    async def say_status(self) -> None:
        last = self.events[-1]
        status = ProjectStatus(
            project=PROJECT,
            stage=last.stage,
            stage_since=last.at,
            submitted_at=START,
            sequence=last.sequence,
            repository_url="https://example.org/digits.git",
        )
        await self.bus.publish(PROJECT_STATUS, status, project=PROJECT)


class Reader:
    """A person who reads along."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.lines: list[TimelineEntry] = []
        self.summary: Summary | None = None
        bus.on(TIMELINE, self.on_line)
        bus.on(SUMMARY, self.on_summary)

    async def on_line(self, received: Received[TimelineEntry]) -> None:
        self.lines.append(received.message)

    async def on_summary(self, received: Received[Summary]) -> None:
        self.summary = received.message

    @property
    def positions(self) -> list[int]:
        return [line.position for line in self.lines]


async def eventually(condition: Callable[[], bool]) -> None:
    with fail_after(10):
        while not condition():  # noqa: ASYNC110 - whatever the condition looks at has no event
            await sleep(0.01)


class House:
    """A broker with a manager, a reader, and observers that come and go."""

    def __init__(self, tmp_path: Path) -> None:
        self.broker = MemoryBroker()
        self.settings = Settings(state_dir=tmp_path)

    def bus(self, kind: str, **options: float) -> MemoryBus:
        return MemoryBus(self.broker, Identity(kind, f"{kind}-1"), **options)

    @asynccontextmanager
    async def observing(self) -> AsyncIterator[None]:
        async with create_task_group() as group:
            group.start_soon(run, self.settings, self.bus("observer", session_seconds=60))
            await eventually(lambda: "observer-observer-1" in self.broker.clients)
            yield
            group.cancel_scope.cancel()


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@asynccontextmanager
async def manager_and_reader(house: House, length: int) -> AsyncIterator[tuple[Manager, Reader]]:
    manager, reader = Manager(house.bus("manager"), history(length)), Reader(house.bus("cli"))
    async with create_task_group() as group:
        await group.start(manager.bus.run)
        await group.start(reader.bus.run)
        yield manager, reader
        group.cancel_scope.cancel()


async def test_timeline_follows_the_events(house: House) -> None:
    async with manager_and_reader(house, 5) as (manager, reader), house.observing():
        await manager.say(1, 2, 3, 4, 5)
        await eventually(lambda: reader.positions == [1, 2, 3, 4, 5])
        assert [line.step for line in reader.lines] == [1, 2, 4, 5, 5]
        await eventually(lambda: reader.summary is not None and reader.summary.stage is ProjectStage.TRAINING)
        assert manager.asked == 0


async def test_gap_is_refilled_from_the_manager(house: House) -> None:
    async with manager_and_reader(house, 9) as (manager, reader), house.observing():
        await manager.say(1, 2, 2, 6, 4, 9)
        await eventually(lambda: reader.positions == list(range(1, 10)))
        assert manager.asked > 0


async def test_late_observer_catches_up(house: House) -> None:
    async with manager_and_reader(house, 450) as (manager, reader):
        await manager.say_status()
        async with house.observing():
            await eventually(lambda: reader.summary is not None and reader.summary.stage is ProjectStage.TRAINING)
            await eventually(lambda: reader.positions == list(range(1, 451)))
            await eventually(lambda: reader.summary is not None and len(reader.summary.stages) == 4)


async def test_restart_says_no_line_twice(house: House) -> None:
    async with manager_and_reader(house, 6) as (manager, reader):
        async with house.observing():
            await manager.say(1, 2, 3)
            await eventually(lambda: reader.positions == [1, 2, 3])
        reader.summary = None
        await manager.say(4)
        async with house.observing():
            await manager.say(2, 3, 5, 6)
            await eventually(lambda: reader.positions == [1, 2, 3, 4, 5, 6])
            await eventually(lambda: reader.summary is not None)


async def test_broker_that_forgot_everything_gets_the_summary_again(house: House) -> None:
    async with manager_and_reader(house, 2) as (manager, reader), house.observing():
        await manager.say(1, 2)
        await eventually(lambda: reader.positions == [1, 2])
        topic = SUMMARY.topic(project=PROJECT)
        await eventually(lambda: topic in house.broker.retained)
        house.broker.stop()
        house.broker.start()
        assert topic not in house.broker.retained
        await eventually(lambda: topic in house.broker.retained)
        assert reader.positions == [1, 2]


async def test_history_and_logs_are_paged(house: House) -> None:
    async with manager_and_reader(house, 7) as (manager, reader), house.observing():
        await manager.say(*range(1, 8))
        await eventually(lambda: len(reader.lines) == 7)
        for number in range(3):
            lines = LogLines(project=PROJECT, instance="builder-1", stream="code", at=START, lines=[f"line {number}"])
            await manager.bus.publish(BUILDER_LOG, lines, project=PROJECT)
        first = await reader.bus.request(HISTORY, HistoryRequest(project=PROJECT, limit=5))
        assert [line.position for line in first.timeline or []] == [1, 2, 3, 4, 5]
        assert first.next == 5
        second = await reader.bus.request(HISTORY, HistoryRequest(project=PROJECT, after=5, limit=5))
        assert [line.position for line in second.timeline or []] == [6, 7]
        assert second.next is None
        page = await reader.bus.request(LOGS, LogsRequest(project=PROJECT, limit=2))
        assert [lines.lines for lines in page.logs or []] == [["line 0"], ["line 1"]]
        assert page.next is not None
        rest = await reader.bus.request(LOGS, LogsRequest(project=PROJECT, after=page.next))
        assert [lines.lines for lines in rest.logs or []] == [["line 2"]]


@pytest.mark.parametrize("request_", [HistoryRequest(project="nobody-1"), LogsRequest(project="nobody-1")])
async def test_unknown_project_is_a_typed_error(house: House, request_: HistoryRequest | LogsRequest) -> None:
    channel = HISTORY if isinstance(request_, HistoryRequest) else LOGS
    async with manager_and_reader(house, 1) as (_, reader), house.observing():
        reply = await reader.bus.request(channel, request_)  # type: ignore[arg-type]
        assert reply.error is not None
        assert reply.error.code == "FLOPS-S003"
