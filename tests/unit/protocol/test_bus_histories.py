"""Order and duplicates: whatever breaks in between, on the memory bus."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from flops_protocol.bus import Identity, Received
from flops_protocol.bus.memory import MemoryBroker, MemoryBus
from flops_protocol.channels import TIMELINE
from flops_protocol.messages.observer import TimelineEntry
from hypothesis import given, settings
from hypothesis import strategies as st

STEP = st.sampled_from(["publish", "publish", "publish", "cut writer", "cut reader", "restart reader", "turn"])


class Scene:
    """Two writers, and a reader whose session outlives its process."""

    def __init__(self, group: anyio.abc.TaskGroup, fails_at: set[int]) -> None:
        self.group = group
        self.broker = MemoryBroker()
        self.handled: list[tuple[str, int]] = []
        self.sent = {"a": 0, "b": 0}
        self.writers = {name: MemoryBus(self.broker, Identity("observer", name)) for name in self.sent}
        self.reader_scope = anyio.CancelScope()
        self._fails_at = fails_at

    async def handle(self, received: Received[TimelineEntry]) -> None:
        position = received.message.position
        await anyio.lowlevel.checkpoint()
        if position in self._fails_at:
            self._fails_at.discard(position)
            raise RuntimeError("once")
        self.handled.append((received.envelope.source, position))

    async def run_reader(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        bus = MemoryBus(self.broker, Identity("manager", "main"), session_seconds=60)
        bus.on(TIMELINE, self.handle)
        with anyio.CancelScope() as self.reader_scope:
            await bus.run(task_status=task_status)

    async def do(self, step: str, writer: str) -> None:
        match step:
            case "publish":
                self.sent[writer] += 1
                self.group.start_soon(self.publish, writer, self.sent[writer])
            case "cut writer":
                self.cut(self.writers[writer].identity.client_id)
            case "cut reader":
                self.cut("manager-main")
            case "restart reader":
                self.reader_scope.cancel()
                await self.group.start(lambda *, task_status: self.run_reader(task_status=task_status))
        await anyio.lowlevel.checkpoint()

    def cut(self, client: str) -> None:
        if client in self.broker.clients:
            self.broker.cut(client)

    async def publish(self, writer: str, position: int) -> None:
        message = TimelineEntry.model_validate(
            {
                "project": writer,
                "position": position,
                "step": 1,
                "stage": "accepted",
                "level": "info",
                "text": "",
                "at": "2026-11-21T09:30:00Z",
            }
        )
        await self.writers[writer].publish(TIMELINE, message, project=writer)

    def complete(self) -> bool:
        return all(set(self.of(name)) == set(range(1, sent + 1)) for name, sent in self.sent.items())

    def of(self, writer: str) -> list[int]:
        return [position for source, position in self.handled if source == f"observer/{writer}"]


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


@settings(max_examples=120, deadline=None)
@given(
    steps=st.lists(st.tuples(STEP, st.sampled_from("ab")), max_size=30), fails_at=st.sets(st.integers(1, 8), max_size=1)
)
def test_nothing_is_lost_and_the_first_of_each_comes_in_order(steps: list[Any], fails_at: set[int]) -> None:
    async def play() -> Scene:
        async with anyio.create_task_group() as group:
            scene = Scene(group, set(fails_at))
            await group.start(lambda *, task_status: scene.run_reader(task_status=task_status))
            for writer in scene.writers.values():
                await group.start(writer.run)
            for step, writer in steps:
                await scene.do(step, writer)
            with anyio.fail_after(10):
                while not scene.complete():  # noqa: ASYNC110 - many small steps of others lead there
                    await anyio.sleep(0.005)
            group.cancel_scope.cancel()
        return scene

    scene = anyio.run(play)
    for writer, sent in scene.sent.items():
        firsts = list(dict.fromkeys(scene.of(writer)))
        assert firsts == list(range(1, sent + 1))
    if not any(step.startswith(("cut", "restart")) for step, _ in steps):
        assert len(scene.handled) == sum(scene.sent.values())
