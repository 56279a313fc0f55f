"""What happens to messages when processes are killed, hang, or may not do what they try."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
from flops_protocol.access import access_rules
from flops_protocol.bus import Identity, Received
from flops_protocol.bus.mqtt import WINDOW, MqttBus
from flops_protocol.channels import (
    BUILDER,
    BUILDER_LOG,
    BUILDER_STATUS,
    CHANNELS,
    CLIENT,
    DEAD_LETTER,
    LEARNER,
    LEARNER_STATUS,
    MANAGER,
    PROJECT_EVENTS,
    PROJECT_STATUS,
    REPLY,
    SERVICE_STATUS,
    SHOW,
    SPEC,
    TIMELINE,
)
from flops_protocol.errors import FlopsError
from flops_protocol.messages.actors import LearnerStatus
from flops_protocol.messages.project import ProjectSpec
from flops_protocol.messages.requests import Reply, ShowRequest
from flops_protocol.sla import Sla

from tests import brokers
from tests.integration.bus.stage import NOW, builder, entry, eventually, manager, will
from tests.integration.bus.suite import Inbox

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


@asynccontextmanager
async def running(bus: MqttBus) -> AsyncIterator[MqttBus]:
    async with anyio.create_task_group() as group:
        await group.start(bus.run)
        yield bus
        group.cancel_scope.cancel()


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


class Guarded:
    """A Mosquitto with a user for each role, and the rules of the registry."""

    def __init__(self, broker: brokers.Broker) -> None:
        self.broker = broker

    def bus(self, user: str, kind: str, instance: str, project: str | None = None, **options: Any) -> MqttBus:
        identity = Identity(kind, instance, project)
        return MqttBus(self.broker.url, identity, credential=(user, f"{user}-password"), **options)


WHO: dict[str, tuple[str, dict[str, str]]] = {
    "manager": ("manager", {"instance": "main", "service": "manager-main"}),
    "builder": ("builder", {"project": "p", "service": "projects-p-builder-builder"}),
    "learner": ("learner", {"project": "p", "learner": "node-1", "service": "projects-p-learner-node-1"}),
    "client": ("client", {"client": "cli-1"}),
}


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Guarded]:
    words = {"publish": "write", "subscribe": "read"}
    rules = []
    for user, (role, ids) in WHO.items():
        rules.append(f"user {user}")
        rules += [f"topic {words[rule.action]} {rule.filter}" for rule in access_rules(role, **ids)]
    async with brokers.run(
        tmp_path,
        "mosquitto",
        anonymous=False,
        options="password_file {folder}/passwords\nacl_file {folder}/rules",
        files={"rules": "\n".join(rules) + "\n", "passwords": "".join(password_line(user) for user in WHO)},
    ) as broker:
        yield Guarded(broker)


def hashed(user: str) -> tuple[str, str, int]:
    """Salt and hash of the user's password as Mosquitto keeps them, base64, and the iterations."""
    salt, iterations = user.encode().ljust(12, b"."), 101
    digest = hashlib.pbkdf2_hmac("sha512", f"{user}-password".encode(), salt, iterations)
    return base64.b64encode(salt).decode(), base64.b64encode(digest).decode(), iterations


def password_line(user: str) -> str:
    salt, digest, iterations = hashed(user)
    return f"{user}:$7${iterations}${salt}${digest}\n"


PLUGIN = next(Path("/usr").glob("lib*/**/mosquitto_dynamic_security.so"), None)
"""Mosquitto's plugin for dynamic security: the one of its access controls that refuses subscriptions."""


@pytest.fixture
async def strict(tmp_path: Path) -> AsyncIterator[Guarded]:
    """As `guarded`, with subscriptions that are refused."""
    if PLUGIN is None:
        pytest.skip("Mosquitto's dynamic security plugin is not installed")
    clients, roles = [], []
    for user, (role, ids) in WHO.items():
        salt, digest, iterations = hashed(user)
        clients.append(
            {
                "username": user,
                "salt": salt,
                "password": digest,
                "iterations": iterations,
                "roles": [{"rolename": user}],
            }
        )
        kinds = {"publish": ["publishClientSend"], "subscribe": ["publishClientReceive", "subscribePattern"]}
        acls = [
            {"acltype": kind, "topic": rule.filter, "allow": True}
            for rule in access_rules(role, **ids)
            for kind in kinds[rule.action]
        ]
        roles.append({"rolename": user, "acls": acls})
    default = dict.fromkeys(("publishClientSend", "publishClientReceive", "subscribe", "unsubscribe"), False)
    security = {"defaultACLAccess": default, "clients": clients, "groups": [], "roles": roles}
    async with brokers.run(
        tmp_path,
        "mosquitto",
        anonymous=False,
        options=f"plugin {PLUGIN}\nplugin_opt_config_file {{folder}}/security.json",
        files={"security.json": json.dumps(security)},
    ) as broker:
        yield Guarded(broker)


def learner(name: str, project: str = "p") -> LearnerStatus:
    return LearnerStatus.model_validate(
        {"project": project, "learner": name, "node": "node", "state": "ready", "since": NOW}
    )


def spec(project: str) -> ProjectSpec:
    sla = Sla.model_validate({"ml_repo_url": "u", "ml_model_flavor": "sklearn"})
    return ProjectSpec(project=project, sla=sla, repository_url="u", commit="0" * 40, submitted_at=NOW)


async def test_a_refused_publish_raises_and_the_bus_goes_on(guarded: Guarded) -> None:
    bus = guarded.bus("learner", "learner", "node-1", "p")
    async with running(bus):
        for refused in (
            bus.publish(BUILDER_STATUS, builder("ready"), project="p"),
            bus.publish(SERVICE_STATUS, manager("up"), kind="manager", instance="main"),
            bus.publish(TIMELINE, entry(1), project="p"),
            bus.publish(LEARNER_STATUS, learner("node-2"), project="p", learner="node-2"),
            bus.publish(LEARNER_STATUS, learner("node-1", "q"), project="q", learner="node-1"),
        ):
            with pytest.raises(FlopsError, match=r"FLOPS-P004 .*Not authorized"):
                await refused
        await bus.publish(LEARNER_STATUS, learner("node-1"), project="p", learner="node-1")


async def test_a_refused_subscription_raises(strict: Guarded) -> None:
    bus = strict.bus("builder", "builder", "builder", "p")
    inbox: Inbox = Inbox()
    async with running(bus):
        await bus.subscribe(SPEC, inbox, project="p")
        with pytest.raises(FlopsError, match=r"FLOPS-P005 .*projects/q/manager/spec: Not authorized"):
            await bus.subscribe(SPEC, inbox, project="q")
        for channel in (SPEC, TIMELINE, LEARNER_STATUS, DEAD_LETTER):
            with pytest.raises(FlopsError, match="FLOPS-P005"):
                await bus.subscribe(channel, inbox)
    late = strict.bus("builder", "builder", "builder", "p")
    late.on(BUILDER_STATUS, inbox)
    with pytest.raises(FlopsError, match=r"FLOPS-P005 .*builder/status: Not authorized"):
        await late.run()


async def test_who_is_not_let_in_is_told(guarded: Guarded) -> None:
    bus = MqttBus(guarded.broker.url, Identity("manager", "main"), credential=("manager", "wrong"))
    with pytest.raises(FlopsError, match=r"FLOPS-P011 .*Not authorized"):
        await bus.run()


async def test_the_rules_of_the_registry_let_everybody_do_their_work(strict: Guarded) -> None:
    server, asker = strict.bus("manager", "manager", "main"), strict.bus("client", "cli", "1")
    worker, other = strict.bus("builder", "builder", "builder", "p"), strict.bus("learner", "learner", "node-1", "p")
    seen_by_manager, seen_by_client = Inbox(), Inbox()

    async def answer(request: Received[ShowRequest]) -> None:
        await server.reply(request, Reply(verb="show", project=request.message.project))

    for bus, role in ((server, MANAGER), (asker, CLIENT), (worker, BUILDER), (other, LEARNER)):
        for channel in CHANNELS:
            if role in channel.readers and channel is not REPLY:
                own = {"project": "p"} if role in (BUILDER, LEARNER) and "project" in channel.parameters else {}
                bus.on(channel, answer if channel is SHOW else Inbox(), **own)
    server.on(BUILDER_STATUS, seen_by_manager)
    asker.on(BUILDER_STATUS, seen_by_client)
    async with running(server), running(asker), running(worker), running(other):
        assert (await asker.request(SHOW, ShowRequest(project="p"))).project == "p"
        await worker.publish(BUILDER_STATUS, builder("ready"), project="p")
        await other.publish(LEARNER_STATUS, learner("node-1"), project="p", learner="node-1")
        await seen_by_manager.has(1)
        await seen_by_client.has(1)


async def test_whoever_subscribes_to_everything_sees_what_is_for_them_only(guarded: Guarded) -> None:
    """With an acl_file, a SUBSCRIBE to anything is granted, and what passes is filtered."""
    worker, seen = guarded.bus("builder", "builder", "builder", "p"), Inbox()
    for channel in (SPEC, LEARNER_STATUS, PROJECT_STATUS, PROJECT_EVENTS, BUILDER_LOG, SERVICE_STATUS):
        worker.on(channel, seen)
    async with running(guarded.bus("learner", "learner", "node-1", "p")) as other, running(worker):
        await other.publish(LEARNER_STATUS, learner("node-1"), project="p", learner="node-1")
        async with running(guarded.bus("manager", "manager", "main")) as server:
            await server.publish(SERVICE_STATUS, manager("up"), kind="manager", instance="main")
            await server.publish(SPEC, spec("q"), project="q")
            await server.publish(SPEC, spec("p"), project="p")
        await seen.has(1)
        assert [received.topic for received in seen] == ["flops/v1/projects/p/manager/spec"]
