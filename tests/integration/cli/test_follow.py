"""Following a project on a bus, with the real observer and a manager that says what a test wants."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
import structlog
from anyio import create_task_group, fail_after, sleep
from flops_cli.exits import ExitCode
from flops_cli.output import Output
from flops_cli.watching.feed import Item, follow
from flops_cli.watching.watch import watch_project
from flops_observer.app import run as run_observer
from flops_observer.settings import Settings
from flops_protocol.bus import Bus, Identity, Received
from flops_protocol.bus.memory import MemoryBroker, MemoryBus
from flops_protocol.channels import PROJECT_EVENTS, PROJECT_STATUS, REPLAY, ROUNDS
from flops_protocol.errors import FlopsError
from flops_protocol.messages.actors import RoundReport
from flops_protocol.messages.observer import TimelineEntry
from flops_protocol.messages.project import EventName, ProjectEvent, ProjectStage, ProjectStatus, RoundMetrics
from flops_protocol.messages.requests import ReplayRequest, Reply

PROJECT = "digits-0a0b0c0d"
START = datetime(2025, 1, 1, tzinfo=UTC)
STAGES = [ProjectStage.ACCEPTED, ProjectStage.BUILDING, ProjectStage.TRAINING]


class Manager:
    """Says events and statuses of one project."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.events: list[ProjectEvent] = []
        bus.on(REPLAY, self.on_replay)

    async def on_replay(self, received: Received[ReplayRequest]) -> None:
        events = [event for event in self.events if event.sequence > received.message.after]
        await self.bus.reply(received, Reply(verb="replay", events=events))

    async def enter(self, stage: ProjectStage, error: FlopsError | None = None) -> None:
        sequence = len(self.events) + 1
        at = START + timedelta(seconds=sequence)
        body = None if error is None else error.body
        event = ProjectEvent(
            project=PROJECT,
            sequence=sequence,
            name=EventName.STAGE_ENTERED,
            at=at,
            stage=stage,
            text=f"{stage} begins",
            error=body,
        )
        self.events.append(event)
        await self.bus.publish(PROJECT_EVENTS, event, project=PROJECT)
        status = ProjectStatus(
            project=PROJECT,
            stage=stage,
            stage_since=at,
            submitted_at=START,
            sequence=sequence,
            repository_url="https://example.org/digits.git",
            error=body,
        )
        await self.bus.publish(PROJECT_STATUS, status, project=PROJECT)


@asynccontextmanager
async def house(tmp_path: Path) -> AsyncIterator[tuple[Manager, Bus]]:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    broker = MemoryBroker()
    manager = Manager(MemoryBus(broker, Identity("manager", "manager-1")))
    reader = MemoryBus(broker, Identity("cli", "cli-1"))
    observer = MemoryBus(broker, Identity("observer", "observer-1"))
    async with create_task_group() as group:
        await group.start(manager.bus.run)
        await group.start(reader.run)
        group.start_soon(run_observer, Settings(state_dir=tmp_path), observer)
        with fail_after(5):
            while len(broker.clients) < 3:  # noqa: ASYNC110 - the broker tells nobody who came
                await sleep(0.01)
        yield manager, reader
        group.cancel_scope.cancel()
    structlog.reset_defaults()


async def read(bus: Bus, since: int = 0) -> list[Item]:
    with fail_after(10):
        async with follow(bus, PROJECT, since=since) as items:
            return [item async for item in items]


def positions(items: list[Item]) -> list[int]:
    return [item.position for item in items if isinstance(item, TimelineEntry)]


async def test_follow_a_project_that_ended(tmp_path: Path) -> None:
    async with house(tmp_path) as (manager, reader):
        for stage in (*STAGES, ProjectStage.COMPLETED):
            await manager.enter(stage)
        items = await read(reader)
        assert positions(items) == [1, 2, 3, 4]
        assert isinstance(items[-1], ProjectStatus)


async def test_follow_from_the_middle_to_the_end(tmp_path: Path) -> None:
    async with house(tmp_path) as (manager, reader):
        await manager.enter(STAGES[0])
        seen: list[Item] = []
        with fail_after(10):
            async with follow(reader, PROJECT) as items:
                async for item in items:
                    seen.append(item)
                    if positions([item]) == [1]:
                        for stage in (*STAGES[1:], ProjectStage.CANCELLED):
                            await manager.enter(stage)
        assert positions(seen) == [1, 2, 3, 4]
        assert isinstance(seen[-1], ProjectStatus)
        assert seen[-1].stage is ProjectStage.CANCELLED


async def test_follow_since_skips_the_end_of_an_earlier_attempt(tmp_path: Path) -> None:
    async with house(tmp_path) as (manager, reader):
        await manager.enter(ProjectStage.FAILED)
        async with create_task_group() as group:

            async def go_on() -> None:
                await sleep(0.05)
                await manager.enter(ProjectStage.ACCEPTED)
                await manager.enter(ProjectStage.COMPLETED)

            group.start_soon(go_on)
            items = await read(reader, since=1)
        assert isinstance(items[-1], ProjectStatus)
        assert items[-1].stage is ProjectStage.COMPLETED


async def test_follow_without_an_observer_still_sees_the_end(tmp_path: Path) -> None:
    broker = MemoryBroker()
    manager = Manager(MemoryBus(broker, Identity("manager", "manager-1")))
    reader = MemoryBus(broker, Identity("cli", "cli-1"))
    async with create_task_group() as group:
        await group.start(manager.bus.run)
        await group.start(reader.run)
        await manager.enter(ProjectStage.COMPLETED)
        items = await read(reader)
        assert isinstance(items[-1], ProjectStatus)
        group.cancel_scope.cancel()


async def test_watch_shows_failure_with_code_hint_and_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with house(tmp_path) as (manager, reader):
        await manager.enter(ProjectStage.BUILDING)
        wrong = FlopsError("FLOPS-B011", "invalid syntax", file="model_manager.py", line=7)
        await manager.enter(ProjectStage.FAILED, wrong)
        end = await watch_project(reader, PROJECT, Output())
    assert end.exit_code is ExitCode.FAILED
    said = capsys.readouterr()
    assert "2 building begins" in said.out
    for part in ("FLOPS-B011", "The code has a syntax error", "model_manager.py:7", "Correct the line", "docs/errors/"):
        assert part in said.err


async def test_watch_prints_json_lines_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = RoundReport(
        project=PROJECT,
        round=1,
        rounds=1,
        metrics=RoundMetrics(round=1, loss=0.0, accuracy=0.0),
        trained=["n-1"],
        evaluated=["n-1"],
        samples=3,
        best=True,
        seconds=0.1,
    )
    async with house(tmp_path) as (manager, reader), create_task_group() as group:

        async def act() -> None:
            await manager.enter(ProjectStage.TRAINING)
            await manager.bus.publish(ROUNDS, report, project=PROJECT)
            await manager.enter(ProjectStage.COMPLETED)

        group.start_soon(act)
        end = await watch_project(reader, PROJECT, Output(json=True))
    assert end.exit_code is ExitCode.OK
    documents = [orjson.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert {kind for document in documents for kind in document} >= {"timeline", "summary", "round", "status"}
    assert documents[-1]["status"]["stage"] == "completed"


async def test_watch_gives_up_after_its_time(tmp_path: Path) -> None:
    async with house(tmp_path) as (manager, reader):
        await manager.enter(ProjectStage.TRAINING)
        with pytest.raises(FlopsError, match="FLOPS-P008"):
            await watch_project(reader, PROJECT, Output(), timeout=0.3)
