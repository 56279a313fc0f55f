"""What is to be said is said once it can be, in its order."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from flops_manager import outbox
from flops_manager.announce import announcer, spec
from flops_manager.handlers import Broken
from flops_manager.outbox import Pump
from flops_manager.store.store import Receipt, Store
from flops_protocol.bus import Identity, Received
from flops_protocol.bus.memory import MemoryBroker, MemoryBus
from flops_protocol.channels import PROJECT_EVENTS, PROJECT_STATUS, SHOW, SPEC
from flops_protocol.messages.project import EventName, ProjectEvent, ProjectStage
from flops_protocol.messages.requests import Reply, ShowRequest

from tests.unit.manager.samples import COMMIT, START, enter, event, submitted

PROJECT = "digits-1"


class World:
    """A broker, a manager's bus with its store and pump, and somebody who listens."""

    def __init__(self, store: Store, broker: MemoryBroker, bus: MemoryBus) -> None:
        self.store = store
        self.broker = broker
        self.bus = bus
        self.pump = Pump(store, bus)
        self.heard: list[int] = []

    async def happen(self, count: int) -> None:
        for _ in range(count):
            await self.store.change(PROJECT, lambda _: [event(EventName.NOTICE)])

    async def hears(self, count: int) -> None:
        with anyio.fail_after(10):
            while len(self.heard) < count:  # noqa: ASYNC110
                await anyio.sleep(0.01)

    async def empty(self) -> None:
        with anyio.fail_after(10):
            while await self.store.outbox(1):  # noqa: ASYNC110
                await anyio.sleep(0.01)


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    broker = MemoryBroker()
    bus = MemoryBus(broker, Identity("manager", "manager-1"), send_timeout=0.2)
    store = await Store.open(folder / "manager.sqlite", announcer(bus, None), lambda: START)
    await store.submit(PROJECT, submitted(), sla_digest="d", receipt=Receipt("c", "1"))
    made = World(store, broker, bus)
    listener = MemoryBus(broker, Identity("client", "listener"))

    async def hear(received: Received[ProjectEvent]) -> None:
        made.heard.append(received.message.sequence)

    listener.on(PROJECT_EVENTS, hear)
    async with anyio.create_task_group() as group:
        await group.start(listener.run)
        yield made
        group.cancel_scope.cancel()
    await store.close()


async def test_events_are_published_in_their_order_and_forgotten(tmp_path: Path) -> None:
    async with world(tmp_path) as w, anyio.create_task_group() as group:
        await group.start(w.bus.run)
        group.start_soon(w.pump.run)
        await w.hears(1)
        await w.happen(20)
        await w.hears(21)
        await w.empty()
        assert w.heard == list(range(1, 22))
        group.cancel_scope.cancel()


async def test_what_happens_while_the_broker_is_away_is_published_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "REFUSED_PAUSE_SECONDS", 0.01)
    async with world(tmp_path) as w, anyio.create_task_group() as group:
        await group.start(w.bus.run)
        group.start_soon(w.pump.run)
        await w.hears(1)
        w.broker.stop()
        await w.happen(5)
        # Longer than the bus waits for a broker.
        await anyio.sleep(0.5)
        assert len(await w.store.outbox(100)) == 10
        w.broker.start()
        await w.empty()
        group.cancel_scope.cancel()


async def test_a_broker_that_forgot_is_told_everything_retained(tmp_path: Path) -> None:
    async with world(tmp_path) as w, anyio.create_task_group() as group:
        w.bus.on_connect(lambda: _refresh(w.pump))
        await w.store.change(PROJECT, lambda _: [enter(ProjectStage.RESOLVING, commit=COMMIT)])
        await group.start(w.bus.run)
        group.start_soon(w.pump.run)
        await w.empty()
        w.broker.stop()
        w.broker.start()
        wanted = {channel.topic(project=PROJECT) for channel in (SPEC, PROJECT_STATUS)}
        with anyio.fail_after(10):
            while not wanted <= set(w.broker.retained):  # noqa: ASYNC110
                await anyio.sleep(0.01)
        group.cancel_scope.cancel()


async def _refresh(pump: Pump) -> None:
    pump.refresh()


async def test_a_message_that_the_broker_refuses_does_not_hold_up_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "REFUSED_PAUSE_SECONDS", 0.01)
    async with world(tmp_path) as w, anyio.create_task_group() as group:
        w.broker.refuse_publish = lambda _, topic: topic.endswith("/manager/status")
        await group.start(w.bus.run)
        group.start_soon(w.pump.run)
        await w.happen(3)
        await w.hears(4)
        await w.empty()
        assert w.heard == [1, 2, 3, 4]
        # What was refused is still known, and can be asked for.
        assert [message.topic for message in await w.store.retained()] == [PROJECT_STATUS.topic(project=PROJECT)]
        group.cancel_scope.cancel()


async def test_a_spec_is_said_again_when_mlflow_has_moved(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.store.change(PROJECT, lambda _: [enter(ProjectStage.RESOLVING, commit=COMMIT)])
        assert await w.store.moved("tracking", "http://one")
        assert not await w.store.moved("tracking", "http://one")
        assert await w.store.moved("tracking", "http://two")
        await w.store.say_again(lambda state: spec(w.bus, state, "http://two"))
        said = [m for _, m in await w.store.outbox(100) if m.topic == SPEC.topic(project=PROJECT)]
        assert [b"http://two" in message.payload for message in said] == [False, True]


async def test_a_broken_database_ends_the_manager_and_nothing_is_acknowledged() -> None:
    broken = Broken()
    taken: list[str] = []

    async def handle(received: Received[ShowRequest]) -> None:
        taken.append(received.message.project)
        raise sqlite3.DatabaseError("malformed")

    broker = MemoryBroker()
    bus = MemoryBus(broker, Identity("manager", "manager-1"), session_seconds=60)
    bus.on(SHOW, broken.guard(handle))
    client = MemoryBus(broker, Identity("client", "c"))
    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012
        async with anyio.create_task_group() as group:
            await group.start(bus.run)
            await group.start(client.run)
            group.start_soon(broken.watch)
            await client.publish(SHOW, ShowRequest(project="digits-1"))
    assert caught.group_contains(sqlite3.DatabaseError)
    assert taken == ["digits-1"]
    # The next one gets it again.
    again = MemoryBus(broker, Identity("manager", "manager-1"), session_seconds=60)
    got = anyio.Event()

    async def take(received: Received[ShowRequest]) -> None:
        await again.reply(received, Reply(verb="show"))
        got.set()

    again.on(SHOW, take)
    async with anyio.create_task_group() as group:
        await group.start(again.run)
        with anyio.fail_after(5):
            await got.wait()
        group.cancel_scope.cancel()
