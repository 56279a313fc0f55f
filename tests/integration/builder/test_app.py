"""The builder as the manager sees it: ready, told what to do, done, stopped."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from flops_builder.app import run
from flops_builder.build import build
from flops_protocol.bus import Bus, Identity, Received
from flops_protocol.bus.memory import MemoryBroker, MemoryBus
from flops_protocol.bus.mqtt import MqttBus
from flops_protocol.channels import (
    BUILD_COMMAND,
    BUILD_COMPLETED,
    BUILD_PROGRESS,
    BUILDER_ERRORS,
    BUILDER_LOG,
    BUILDER_STATUS,
    SPEC,
)
from flops_protocol.messages.actors import BuilderState, BuilderStatus

from tests import brokers

pytestmark = pytest.mark.timeout(300)
PROJECT = "test-1"
PATIENCE = 120.0


@dataclass
class Manager:
    """What the builder says, and a way to tell it things."""

    bus: Bus
    statuses: list[BuilderStatus] = field(default_factory=list)
    heard: dict[str, list[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._news = anyio.Event()
        self.bus.on(BUILDER_STATUS, self._on_status, project=PROJECT)
        for channel in (BUILD_PROGRESS, BUILDER_LOG, BUILDER_ERRORS, BUILD_COMPLETED):
            self.bus.on(channel, self._on_other, project=PROJECT)

    async def _on_status(self, received: Received[BuilderStatus]) -> None:
        self.statuses.append(received.message)
        self._news.set()

    async def _on_other(self, received: Received[Any]) -> None:
        self.heard.setdefault(received.channel.name, []).append(received.message)
        self._news.set()

    async def tell(self, spec: Any, command: Any) -> None:
        await self.bus.publish(SPEC, spec, project=PROJECT)
        await self.bus.publish(BUILD_COMMAND, command, project=PROJECT)

    async def until(self, condition: Callable[[], Any]) -> Any:
        with anyio.fail_after(PATIENCE):
            while not (found := condition()):
                self._news = anyio.Event()
                await self._news.wait()
        return found

    async def state(self, state: BuilderState) -> BuilderStatus:
        await self.until(lambda: self.statuses and self.statuses[-1].state is state)
        return self.statuses[-1]


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


@pytest.fixture
async def manager(broker: MemoryBroker) -> AsyncIterator[Manager]:
    async with anyio.create_task_group() as group:
        manager = Manager(MemoryBus(broker, Identity("manager", "manager-1")))
        await group.start(manager.bus.run)
        yield manager
        group.cancel_scope.cancel()


@asynccontextmanager
async def builder(bench, broker, **more) -> AsyncIterator[anyio.Event]:
    """A builder that runs; yields an event that is set when it has ended by itself."""
    settings = bench.settings.model_copy(update={"project": PROJECT, "instance": "builder-1"})
    bus = MemoryBus(broker, Identity("builder", "builder-1", PROJECT))
    ended = anyio.Event()

    async def life() -> None:
        await run(settings, bus, **more)
        ended.set()

    async with anyio.create_task_group() as group:
        group.start_soon(life)
        yield ended
        group.cancel_scope.cancel()


async def test_a_build_from_ready_to_stopped(bench, broker, manager, fixture_repository):
    spec, command = bench.order(*fixture_repository("numpy-only"))
    async with builder(bench, broker) as ended:
        await manager.state(BuilderState.READY)
        await manager.tell(spec, command)
        done = await manager.state(BuilderState.SUCCEEDED)
        (completed,) = await manager.until(lambda: manager.heard.get(BUILD_COMPLETED.name))
        await manager.tell(spec, command)  # as a level-triggered manager does
        await manager.bus.publish(BUILD_COMMAND, command.model_copy(update={"action": "stop"}), project=PROJECT)
        await manager.state(BuilderState.STOPPED)
        with anyio.fail_after(PATIENCE):
            await ended.wait()
    states = [status.state for status in manager.statuses]
    assert states == [BuilderState.READY, BuilderState.BUILDING, BuilderState.SUCCEEDED, BuilderState.STOPPED]
    assert done.command == command.command
    assert done.images is not None
    assert completed.images == done.images
    assert completed.bytes_pushed > 0
    percents = [progress.percent for progress in manager.heard[BUILD_PROGRESS.name]]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    lines = [line for message in manager.heard[BUILDER_LOG.name] for line in message.lines]
    assert any("requirements.txt" in line for line in lines)


async def test_a_failure_is_told_with_its_place_and_the_builder_stays(bench, broker, manager, repository):
    spec, command = bench.order(repository, repository.commit({"model_manager.py": "def (\n", "data_manager.py": ""}))
    async with builder(bench, broker):
        await manager.state(BuilderState.READY)
        await manager.tell(spec, command)
        failed = await manager.state(BuilderState.FAILED)
        (report,) = await manager.until(lambda: manager.heard.get(BUILDER_ERRORS.name))
        assert failed.error == report.error
        assert (report.error.code, report.fatal) == ("FLOPS-B020", True)
        fixed = repository.commit({"requirements.txt": "numpy\n"})
        spec, again = bench.order(repository, fixed)
        await manager.tell(spec, again.model_copy(update={"command": "build-2"}))
        await manager.until(lambda: manager.statuses[-1].command == "build-2")
        failed = await manager.state(BuilderState.FAILED)
        assert failed.error is not None
        assert (failed.error.code, failed.error.file, failed.error.line) == ("FLOPS-B011", "model_manager.py", 1)


async def test_a_defect_of_ours_is_told_too(bench, broker, manager, fixture_repository):
    async def broken(*_: Any) -> Any:
        raise ZeroDivisionError("by zero")

    spec, command = bench.order(*fixture_repository("numpy-only"))
    async with builder(bench, broker, build=broken):
        await manager.state(BuilderState.READY)
        await manager.tell(spec, command)
        failed = await manager.state(BuilderState.FAILED)
    assert failed.error is not None
    assert failed.error.code == "FLOPS-P010"
    assert "by zero" in failed.error.detail


async def test_stopped_in_the_middle_of_a_build_it_leaves_nothing(bench, broker, manager, fixture_repository):
    begun = anyio.Event()

    async def slow(spec, command, settings, report) -> Any:
        begun.set()
        return await build(spec, command, settings, report)

    spec, command = bench.order(*fixture_repository("sklearn-flops"))
    async with builder(bench, broker, build=slow) as ended:
        await manager.state(BuilderState.READY)
        await manager.tell(spec, command)
        await begun.wait()
        await manager.until(lambda: manager.heard.get(BUILD_PROGRESS.name))
        await manager.bus.publish(BUILD_COMMAND, command.model_copy(update={"action": "stop"}), project=PROJECT)
        with anyio.fail_after(PATIENCE):
            await ended.wait()
    assert manager.statuses[-1].state is BuilderState.STOPPED
    work = bench.settings.cache_dir / "work"
    assert not work.exists() or not list(work.iterdir())
    assert not (bench.registry / "index.json").exists()


@pytest.mark.parametrize("kind", ["mosquitto", "iotcore"])
async def test_the_process_on_a_real_broker(bench, fixture_repository, tmp_path, kind):
    if not brokers.available(kind):
        pytest.skip(f"no {kind} here")
    spec, command = bench.order(*fixture_repository("numpy-only"))
    async with brokers.run(tmp_path, kind) as broker, anyio.create_task_group() as group:
        manager = Manager(MqttBus(broker.url, Identity("manager", "manager-1")))
        await group.start(manager.bus.run)
        environment = dict(os.environ) | {
            "FLOPS_BROKER": broker.url,
            "FLOPS_PROJECT": PROJECT,
            "FLOPS_ROLE": "builder",
            "FLOPS_INSTANCE": "builder-1",
            "FLOPS_CACHE_DIR": str(bench.settings.cache_dir),
        }
        for ending, state in ((signal.SIGTERM, BuilderState.STOPPED), (signal.SIGKILL, BuilderState.LOST)):
            async with await anyio.open_process([sys.executable, "-m", "flops_builder"], env=environment) as process:
                await manager.state(BuilderState.READY)
                await manager.tell(spec, command)
                await manager.state(BuilderState.SUCCEEDED)
                process.send_signal(ending)
                await manager.state(state)
        group.cancel_scope.cancel()
