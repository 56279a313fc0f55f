"""What happens to messages when processes are killed or hang."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import anyio
import pytest
from flops_protocol.bus import Identity
from flops_protocol.bus.mqtt import WINDOW, MqttBus
from flops_protocol.channels import (
    BUILDER_STATUS,
    SERVICE_STATUS,
    TIMELINE,
)
from flops_protocol.errors import FlopsError

from tests import brokers
from tests.integration.bus.stage import Inbox, builder, entry, eventually, running, will

HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(not brokers.available("mosquitto"), reason="Mosquitto is not installed")


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[brokers.Broker]:
    async with brokers.run(tmp_path, "mosquitto") as broker:
        yield broker


@contextmanager
def process(script: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process that is killed when the block is left, if it still runs."""
    running = subprocess.Popen([sys.executable, str(HERE / script), *arguments])
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def handled(path: Path) -> list[int]:
    """What the consumer has done; a kill may have cut the last line."""
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.timeout(120)
async def test_nothing_is_lost_when_a_consumer_is_killed_three_times(broker: brokers.Broker, tmp_path: Path) -> None:
    """1000 messages, handled in 2 ms each, and a kill -9 after about 200, 400 and 600 of them."""
    path = tmp_path / "handled"
    total = 1000

    def done() -> set[int]:
        return {number for number in handled(path) if number <= total}

    async with running(MqttBus(broker.url, Identity("observer", "writer"))) as writer:
        # The session must be there before the first message is.
        with process("consumer.py", broker.url, str(path), "0"), anyio.fail_after(30):
            while not handled(path):
                await writer.publish(TIMELINE, entry(total + 1), project="p")
                await anyio.sleep(0.05)
        async with anyio.create_task_group() as group:
            for position in range(1, total + 1):
                group.start_soon(lambda number: writer.publish(TIMELINE, entry(number), project="p"), position)
            for goal in (200, 400, 600, total):
                # Leaving the block kills it.
                with process("consumer.py", broker.url, str(path), "0.002"):
                    await eventually(lambda goal=goal: len(done()) >= goal, 60)  # type: ignore[misc]
    numbers = [number for number in handled(path) if number <= total]
    assert set(numbers) == set(range(1, total + 1))
    assert len(numbers) - total <= 3 * WINDOW
    # What came twice came in a row from where the kill was; in between, the order is that of the writer.
    steps = [after for before, after in pairwise(numbers) if after <= before]
    assert len(steps) <= 3


async def test_a_hung_broker_holds_up_nobody_for_ever(broker: brokers.Broker) -> None:
    """Stopped for longer than a message waits: the publisher is told, and what it was told was sent is there."""
    inbox: Inbox = Inbox()
    reader = MqttBus(broker.url, Identity("manager", "main"), keepalive=2, session_seconds=60)
    reader.on(TIMELINE, inbox)
    writer = MqttBus(broker.url, Identity("observer", "main"), keepalive=2, send_timeout=3)
    taken: list[int] = []
    given_up: list[tuple[int, str]] = []

    async def publish(position: int) -> None:
        try:
            await writer.publish(TIMELINE, entry(position), project="p")
        except FlopsError as error:
            given_up.append((position, error.body.code))
        else:
            taken.append(position)

    async with running(reader), running(writer):
        await publish(1)
        broker.hang()
        started = anyio.current_time()
        async with anyio.create_task_group() as group:
            for position in range(2, 52):
                group.start_soon(publish, position)
        assert anyio.current_time() - started < 3 + 1
        assert {code for _, code in given_up} == {"FLOPS-P006"}
        assert len(given_up) == 50
        broker.wake()
        await eventually(lambda: writer.connected, 20)
        await publish(100)
        assert taken == [1, 100]
        await eventually(lambda: "100" in inbox.texts, 20)
    # What was given up may have arrived all the same: the broker had it in its socket. Nothing else was lost.
    assert {int(text) for text in inbox.texts} >= set(taken)


async def test_a_message_waits_for_a_broker_that_hangs_for_a_moment(broker: brokers.Broker) -> None:
    inbox: Inbox = Inbox()
    reader = MqttBus(broker.url, Identity("manager", "main"))
    reader.on(TIMELINE, inbox)
    async with running(reader), running(MqttBus(broker.url, Identity("observer", "main"))) as writer:
        broker.hang()
        async with anyio.create_task_group() as group:
            for position in range(1, 51):
                group.start_soon(lambda number: writer.publish(TIMELINE, entry(number), project="p"), position)
            await anyio.sleep(0.5)
            assert inbox == []
            broker.wake()
        await inbox.has(50)
        assert inbox.texts == [str(position) for position in range(1, 51)]


async def test_a_killed_process_is_told_lost_and_a_quick_restart_stays_silent(broker: brokers.Broker) -> None:
    inbox: Inbox = Inbox()
    reader = MqttBus(broker.url, Identity("observer", "main"))
    reader.on(SERVICE_STATUS, inbox)
    async with running(reader):
        with process("announcer.py", broker.url) as first:
            await inbox.has(1)
            first.kill()
            first.wait()
        with process("announcer.py", broker.url) as second:
            await inbox.has(2)
            await anyio.sleep(2.5)
            assert inbox.states == ["up", "up"]
            assert inbox[1].envelope.epoch > inbox[0].envelope.epoch
            second.kill()
            started = anyio.current_time()
            await inbox.has(3)
            assert anyio.current_time() - started < 2 + 2
        assert inbox.states == ["up", "up", "lost"]
        with process("announcer.py", broker.url):
            await inbox.has(4)
        assert inbox.states == ["up", "up", "lost", "up"]


async def test_a_killed_broker_that_comes_back_empty_is_healed_in_five_seconds(broker: brokers.Broker) -> None:
    """Ten services with a hundred states each."""
    buses = [MqttBus(broker.url, Identity("builder", str(number)), testament=will()) for number in range(10)]
    projects = {f"p-{number}-{index}" for number in range(10) for index in range(100)}
    async with anyio.create_task_group() as group:
        for bus in buses:
            await group.start(bus.run)
        async with anyio.create_task_group() as publishing:
            for number, bus in enumerate(buses):
                for index in range(100):
                    project = f"p-{number}-{index}"
                    publishing.start_soon(
                        lambda bus, name: bus.publish(BUILDER_STATUS, builder("building", name), project=name),
                        bus,
                        project,
                    )
        await broker.kill()
        await broker.start()
        inbox: Inbox = Inbox()
        with anyio.fail_after(5):
            async with running(MqttBus(broker.url, Identity("observer", "late"))) as late:
                await late.subscribe(BUILDER_STATUS, inbox)
                await eventually(lambda: {received.message.project for received in inbox} == projects, 5)
        assert set(inbox.states) == {"building"}
        group.cancel_scope.cancel()


async def test_no_broker_at_the_start_is_told(tmp_path: Path) -> None:
    port = brokers.process.free_port()
    bus = MqttBus(f"mqtt://127.0.0.1:{port}", Identity("manager", "main"), connect_timeout=0.5)
    started = anyio.current_time()
    with pytest.raises(FlopsError, match=rf"FLOPS-P006 .*mqtt://127\.0\.0\.1:{port}.*refused"):
        await bus.run()
    assert 0.4 < anyio.current_time() - started < 3


async def test_a_broker_that_comes_up_a_little_later_is_found(tmp_path: Path) -> None:
    broker = brokers.Broker("mosquitto", tmp_path, brokers.process.free_port())
    bus = MqttBus(broker.url, Identity("manager", "main"))
    async with anyio.create_task_group() as group:
        group.start_soon(bus.run)
        await anyio.sleep(0.3)
        assert not bus.connected
        await broker.start()
        await eventually(lambda: bus.connected)
        group.cancel_scope.cancel()
    await broker.kill()


async def test_a_cancelled_start_leaves_nothing_behind(tmp_path: Path) -> None:
    """Something that takes connections and never says a word."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        before = open_files()
        bus = MqttBus(f"mqtt://127.0.0.1:{port}", Identity("manager", "main"))
        started = anyio.current_time()
        with anyio.move_on_after(0.3) as scope:
            await bus.run()
        assert scope.cancelled_caught
        assert anyio.current_time() - started < 2
        await eventually(lambda: open_files() <= before)


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
