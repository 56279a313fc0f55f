"""What the tests of the bus play on: one stage for each transport, with the same levers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiomqtt
import anyio
from anyio.abc import TaskGroup
from flops_protocol.bus import Bus, Identity, Outgoing, Received, Testament
from flops_protocol.bus.base import ConnectedBus
from flops_protocol.bus.memory import MemoryBroker, MemoryBus
from flops_protocol.bus.mqtt import MqttBus
from flops_protocol.channels import SERVICE_STATUS
from flops_protocol.messages.actors import BuilderState, BuilderStatus
from flops_protocol.messages.mesh import ServiceStatus
from flops_protocol.messages.observer import TimelineEntry

from tests import brokers

SECONDS = 10.0
"""How long anything may take at most."""
NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


async def eventually(condition: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Waits until the condition holds."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - the condition is about what others do, who set no event for us
            await anyio.sleep(0.005)


def entry(position: int, text: str = "", project: str = "p") -> TimelineEntry:
    """A message without meaning, but with a number. On a channel with QoS 1 that is not retained."""
    return TimelineEntry(
        project=project, position=position, step=1, stage="accepted", level="info", text=text or f"{position}", at=NOW
    )


def builder(state: str, project: str = "p") -> BuilderStatus:
    """A retained state."""
    return BuilderStatus(project=project, instance="builder", state=BuilderState(state), since=NOW)


def manager(state: str) -> ServiceStatus:
    """A retained state of a service."""
    return ServiceStatus.model_validate(
        {"kind": "manager", "instance": "main", "state": state, "since": NOW, "version": "0"}
    )


def will(delay: int = 1) -> Testament:
    """The last will of a manager."""
    return Testament(SERVICE_STATUS, manager("lost"), {"kind": "manager", "instance": "main"}, delay)


class Stage(ABC):
    """A broker, and buses on it that run until the test is over."""

    keeps_sessions = True
    """Whether a client that was away gets what it missed."""

    def __init__(self, group: TaskGroup) -> None:
        self.group = group

    @abstractmethod
    async def bus(self, kind: str, instance: str = "1", **options: Any) -> ConnectedBus:
        """A bus that does not run yet."""

    async def running(self, kind: str, instance: str = "1", **options: Any) -> ConnectedBus:
        """A bus that runs."""
        bus = await self.bus(kind, instance, **options)
        await self.group.start(bus.run)
        return bus

    @asynccontextmanager
    async def visiting(self, kind: str, instance: str = "1", **options: Any) -> AsyncIterator[ConnectedBus]:
        """A bus that runs, and says goodbye when the block is left."""
        bus = await self.bus(kind, instance, **options)
        async with anyio.create_task_group() as group:
            await group.start(bus.run)
            yield bus
            group.cancel_scope.cancel()

    @abstractmethod
    async def cut(self, bus: Bus) -> None:
        """Breaks the bus's connection, without a goodbye; it may come back at once."""

    @abstractmethod
    async def close(self, bus: Bus) -> None:
        """As `cut`, and keeps it away."""

    @abstractmethod
    def open(self, bus: Bus) -> None:
        """The end of `close`."""

    @abstractmethod
    async def restart_empty(self) -> None:
        """The broker dies, and comes back without anything it knew."""

    @abstractmethod
    async def raw(self, topic: str, *payloads: bytes) -> None:
        """Publishes bytes that no bus would write."""


class MemoryStage(Stage):
    """On the memory broker."""

    def __init__(self, group: TaskGroup) -> None:
        super().__init__(group)
        self.broker = MemoryBroker()
        self._closed: set[str] = set()

    async def bus(self, kind: str, instance: str = "1", **options: Any) -> ConnectedBus:
        stage = self

        class Closable(MemoryBus):
            """Cannot connect while it is closed out."""

            @asynccontextmanager
            async def _connect(self) -> AsyncIterator[Any]:
                running, stage.broker.running = stage.broker.running, self.identity.client_id not in stage._closed
                try:
                    connection = super()._connect()
                    entered = await connection.__aenter__()
                finally:
                    stage.broker.running = running
                try:
                    yield entered
                finally:
                    await connection.__aexit__(None, None, None)

        return Closable(self.broker, Identity(kind, instance), **options)

    async def cut(self, bus: Bus) -> None:
        self.broker.cut(bus.identity.client_id)

    async def close(self, bus: Bus) -> None:
        self._closed.add(bus.identity.client_id)
        await self.cut(bus)

    def open(self, bus: Bus) -> None:
        self._closed.discard(bus.identity.client_id)

    async def restart_empty(self) -> None:
        self.broker.stop()
        await anyio.sleep(0.02)
        self.broker.start()

    async def raw(self, topic: str, *payloads: bytes) -> None:
        for payload in payloads:
            self.broker.publish("raw", Outgoing(topic, payload))


class MqttStage(Stage):
    """On a real broker, each bus behind a proxy of its own."""

    def __init__(self, group: TaskGroup, broker: brokers.Broker) -> None:
        super().__init__(group)
        self.broker = broker
        self._proxies: dict[Bus, brokers.FaultProxy] = {}

    async def bus(self, kind: str, instance: str = "1", **options: Any) -> ConnectedBus:
        proxy = brokers.FaultProxy(self.broker.port)
        await self.group.start(proxy.run)
        bus = MqttBus(proxy.url, Identity(kind, instance), **options)
        self._proxies[bus] = proxy
        return bus

    async def cut(self, bus: Bus) -> None:
        await self._proxies[bus].cut()

    async def close(self, bus: Bus) -> None:
        await self._proxies[bus].close()

    def open(self, bus: Bus) -> None:
        self._proxies[bus].open()

    def proxy(self, bus: Bus) -> brokers.FaultProxy:
        """The bus's road to the broker."""
        return self._proxies[bus]

    async def restart_empty(self) -> None:
        await self.broker.kill()
        await self.broker.start()

    async def raw(self, topic: str, *payloads: bytes) -> None:
        async with aiomqtt.Client("127.0.0.1", self.broker.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
            for payload in payloads:
                await client.publish(topic, payload, qos=1)


@asynccontextmanager
async def memory_stage() -> AsyncIterator[MemoryStage]:
    """A stage on the memory broker."""
    async with anyio.create_task_group() as group:
        yield MemoryStage(group)
        group.cancel_scope.cancel()


@asynccontextmanager
async def mqtt_stage(folder: Path, kind: str) -> AsyncIterator[MqttStage]:
    """A stage on a real broker."""
    async with (
        brokers.run(folder, kind) as broker,
        anyio.create_task_group() as group,
    ):
        yield MqttStage(group, broker)
        group.cancel_scope.cancel()


@asynccontextmanager
async def running(bus: MqttBus) -> AsyncIterator[MqttBus]:
    async with anyio.create_task_group() as group:
        await group.start(bus.run)
        yield bus
        group.cancel_scope.cancel()


class Inbox(list[Received[Any]]):
    """A handler that keeps what it gets."""

    async def __call__(self, received: Received[Any]) -> None:
        self.append(received)

    @property
    def texts(self) -> list[str]:
        return [received.message.text for received in self]

    @property
    def states(self) -> list[str]:
        return [received.message.state for received in self]

    async def has(self, count: int) -> None:
        await eventually(lambda: len(self) >= count)
