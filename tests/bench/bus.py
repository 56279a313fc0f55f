"""The bus against plain aiomqtt: throughput and latency at QoS 1, messages of 1 KiB, in one run.

    python -m tests.bench.bus [--messages N] [--repeats N] [--broker mosquitto|iotcore]

Both write and read the same envelopes, through the same broker, 100 publishes at a time, writer and reader in this
process. The bus acknowledges a message after its handler has returned; aiomqtt as shipped acknowledges when it has put
it into its queue. Each pair is measured in turn, and the ratio is the median of the pairs' ratios, so that a busy
machine slows down both.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiomqtt
import anyio
from flops_protocol.bus import Identity, Received
from flops_protocol.bus.mqtt import MqttBus
from flops_protocol.channels import TIMELINE
from flops_protocol.envelope import Envelope, decode, encode
from flops_protocol.identifiers import uuid7
from flops_protocol.messages.observer import TimelineEntry

from tests import brokers

AT_A_TIME = 100
Publish = Callable[[int], Awaitable[None]]
Handle = Callable[[int], None]
NOW = datetime.now(UTC)
TOPIC = TIMELINE.topic(project="p")


def message(position: int) -> TimelineEntry:
    """A message that is 1 KiB in its envelope."""
    return TimelineEntry(project="p", position=position, step=1, stage="accepted", level="info", text="x" * 540, at=NOW)


@asynccontextmanager
async def plain(port: int, handle: Handle) -> AsyncIterator[Publish]:
    """aiomqtt as shipped, with the same envelopes."""
    version = aiomqtt.ProtocolVersion.V5
    async with (
        aiomqtt.Client("127.0.0.1", port, protocol=version) as writer,
        aiomqtt.Client("127.0.0.1", port, protocol=version) as reader,
        anyio.create_task_group() as group,
    ):
        writer.pending_calls_threshold = 1000  # It would log a warning for each publish above ten.
        await reader.subscribe(TOPIC, qos=1)

        async def read() -> None:
            async for received in reader.messages:
                assert isinstance(received.payload, bytes)
                handle(decode(received.payload, TimelineEntry).data.position)

        async def publish(position: int) -> None:
            envelope = Envelope[TimelineEntry](
                id=uuid7(),
                source="observer/plain",
                type=TIMELINE.type,
                subject=TOPIC,
                time=datetime.now(UTC),
                dataschema=TIMELINE.schema_id,
                sequence=position + 1,
                epoch=1,
                data=message(position + 1),
            )
            await writer.publish(TOPIC, encode(envelope), qos=1)

        group.start_soon(read)
        yield publish
        group.cancel_scope.cancel()


@asynccontextmanager
async def ours(port: int, handle: Handle) -> AsyncIterator[Publish]:
    """The bus."""
    url = f"mqtt://127.0.0.1:{port}"
    writer, reader = MqttBus(url, Identity("observer", "bench")), MqttBus(url, Identity("manager", "bench"))

    async def on_message(received: Received[TimelineEntry]) -> None:
        handle(received.message.position)

    async def publish(position: int) -> None:
        await writer.publish(TIMELINE, message(position + 1), project="p")

    reader.on(TIMELINE, on_message)
    async with anyio.create_task_group() as group:
        await group.start(reader.run)
        await group.start(writer.run)
        yield publish
        group.cancel_scope.cancel()


Side = Callable[[int, Handle], Any]


async def throughput(side: Side, port: int, count: int) -> float:
    """Messages a second, from the first publish to the last message handled."""
    done = anyio.Event()
    handled = 0

    def handle(_: int) -> None:
        nonlocal handled
        handled += 1
        if handled == count:
            done.set()

    async with side(port, handle) as publish:
        numbers = iter(range(count))

        async def work() -> None:
            for number in numbers:
                await publish(number)

        started = time.perf_counter()
        async with anyio.create_task_group() as group:
            for _ in range(AT_A_TIME):
                group.start_soon(work)
        with anyio.fail_after(60):
            await done.wait()
        return count / (time.perf_counter() - started)


async def latencies(side: Side, port: int, count: int) -> list[float]:
    """Seconds from publish to handler, at 100 messages a second."""
    sent: dict[int, float] = {}
    taken: list[float] = []
    async with side(port, lambda position: taken.append(time.perf_counter() - sent[position])) as publish:
        for number in range(count):
            sent[number + 1] = time.perf_counter()
            await publish(number)
            await anyio.sleep(0.01)
        with anyio.fail_after(10):
            while len(taken) < count:  # noqa: ASYNC110 - the end of a measurement
                await anyio.sleep(0.01)
    return taken


async def measure(kind: str | None, count: int, repeats: int) -> None:
    """Prints the table."""
    rates: dict[str, list[float]] = {"plain": [], "ours": []}
    waits: dict[str, list[float]] = {"plain": [], "ours": []}
    sides: dict[str, Side] = {"plain": plain, "ours": ours}
    with tempfile.TemporaryDirectory() as folder:
        async with brokers.run(Path(folder), kind) as broker:
            for side in sides.values():
                await throughput(side, broker.port, count // 10)
            for _ in range(repeats):
                for name, side in sides.items():
                    rates[name].append(await throughput(side, broker.port, count))
            for _ in range(repeats):
                for name, side in sides.items():
                    waits[name].append(statistics.median(await latencies(side, broker.port, 100)))
    faster = statistics.median(a / b for a, b in zip(rates["ours"], rates["plain"], strict=True))
    slower = statistics.median(a / b for a, b in zip(waits["ours"], waits["plain"], strict=True))
    print(f"{broker.kind}, QoS 1, 1 KiB, {count} messages, {AT_A_TIME} at a time, median of {repeats}")
    print("| | aiomqtt 2.5.1 | bus | ratio | to reach |")
    print("| --- | --- | --- | --- | --- |")
    plain_rate, our_rate = statistics.median(rates["plain"]), statistics.median(rates["ours"])
    print(f"| messages a second | {plain_rate:,.0f} | {our_rate:,.0f} | {faster:.2f} | at least 1.2 |")
    plain_wait, our_wait = statistics.median(waits["plain"]), statistics.median(waits["ours"])
    print(f"| p50 at 100/s, ms | {plain_wait * 1e3:.2f} | {our_wait * 1e3:.2f} | {slower:.2f} | at most 1.2 |")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--broker", choices=["mosquitto", "iotcore"])
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    anyio.run(measure, chosen.broker, chosen.messages, chosen.repeats)


if __name__ == "__main__":
    main()
