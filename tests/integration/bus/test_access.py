"""What a broker with the registry's access rules lets each role do, and how a refusal is told."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from flops_protocol.access import access_rules
from flops_protocol.bus import Identity, Received
from flops_protocol.bus.mqtt import MqttBus
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
from tests.integration.bus.stage import NOW, Inbox, builder, entry, manager, running

pytestmark = pytest.mark.skipif(not brokers.available("mosquitto"), reason="Mosquitto is not installed")


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
