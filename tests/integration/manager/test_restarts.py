"""The manager and the broker come and go; projects do not notice."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta

import anyio
from flops_protocol.bus import Identity, Received
from flops_protocol.bus.mqtt import MqttBus
from flops_protocol.channels import NODE_STATUS, PROJECT_STATUS, SERVICE_STATUS, SHOW, SPEC
from flops_protocol.messages.project import EventName
from flops_protocol.messages.requests import ShowRequest

from tests.integration.manager.harness import Mesh


def lives(mesh: Mesh) -> Counter[str]:
    """How often each actor was started."""
    return Counter((mesh.root / "engine/lives").read_text().splitlines())


async def test_a_killed_manager_finds_its_actors_and_what_they_said(mesh: Mesh) -> None:
    async with mesh.manager() as manager:
        project = await mesh.submit(script={"aggregator": {"rounds_seconds": 0.5}}, training_rounds=5)
        await mesh.stage(project, "training")
        await manager.kill()
        # It misses the end of the training.
        await anyio.sleep(3)
        await manager.start()
        status = await mesh.end(project)
        assert status.stage == "completed"
        history = await mesh.history(project)
        rounds = [e.metrics.round for e in history if e.name is EventName.ROUND_FINISHED and e.metrics]
        if mesh.broker.kind == "mosquitto":  # The embedded broker keeps nothing for a client that is away.
            assert rounds == [1, 2, 3, 4, 5]
        assert EventName.ACTOR_LOST not in {event.name for event in history}
        assert set(lives(mesh).values()) == {1}
        await mesh.gone()


async def test_an_actor_that_died_while_the_manager_was_away_is_noticed(mesh: Mesh) -> None:
    async with mesh.manager() as manager:
        script = {"aggregator": {"rounds_seconds": 2, "die": 2}}
        project = await mesh.submit(script=script, training_rounds=2)
        await mesh.stage(project, "training")
        await manager.kill()
        await anyio.sleep(3)
        await manager.start()
        assert (await mesh.end(project)).stage == "completed"
        lost = [event.text for event in await mesh.history(project) if event.name is EventName.ACTOR_LOST]
        assert lost == ["aggregator is lost: its process was killed by signal 9; it is started again"]


async def test_sigterm_ends_the_manager_and_leaves_actors_alone(mesh: Mesh) -> None:
    async with mesh.manager() as manager:
        project = await mesh.submit(script={"aggregator": {"rounds_seconds": 1}}, training_rounds=4)
        await mesh.stage(project, "training")
        assert await manager.terminate() == 0
        assert mesh.service[-1].state == "down"
        # A shell is beside each of them.
        assert len([line for line in mesh.processes() if not line.startswith("sh ")]) == 3
        await manager.start()
        assert (await mesh.end(project)).stage == "completed"
        assert set(lives(mesh).values()) == {1}


async def test_actors_may_go_down_with_the_manager_and_go_on_with_it(mesh: Mesh) -> None:
    async with mesh.manager(FLOPS_STOP_ACTORS_ON_EXIT="true") as manager:
        project = await mesh.submit(script={"aggregator": {"rounds_seconds": 0.5}}, training_rounds=5)
        await mesh.until(lambda: EventName.ROUND_FINISHED in [e.name for e in mesh.events.get(project, [])])
        assert await manager.terminate() == 0
        assert mesh.processes() == []
        assert mesh.nodes[-1].state == "down"
        await manager.start()
        status = await mesh.end(project)
        assert (status.stage, status.attempt) == ("completed", 1)
        history = await mesh.history(project)
        assert EventName.ACTOR_LOST not in {event.name for event in history}
        rounds = [e.metrics.round for e in history if e.name is EventName.ROUND_FINISHED and e.metrics]
        assert rounds == [1, 2, 3, 4, 5]
        assert lives(mesh)[f"{project} aggregator"] == 2


async def test_without_a_broker_the_manager_says_so_and_ends(mesh: Mesh) -> None:
    await mesh.broker.kill()
    manager = mesh.manager_process(FLOPS_CONNECT_TIMEOUT="1")
    await manager.start()
    assert await manager.wait() == 1
    assert "FLOPS-P006" in manager.log.read_text()
    assert "Traceback" not in manager.log.read_text()
    await mesh.broker.start()


async def test_a_broker_that_forgot_everything_is_told_within_five_seconds(mesh: Mesh) -> None:
    async with mesh.manager():
        ended = await mesh.submit()
        await mesh.end(ended)
        project = await mesh.submit(script={"aggregator": {"rounds_seconds": 1}}, training_rounds=6)
        await mesh.stage(project, "training")
        await mesh.broker.kill()
        await mesh.broker.start()
        seen: set[str] = set()
        wanted = {
            *(channel.topic(project=name) for name in (ended, project) for channel in (PROJECT_STATUS, SPEC)),
            NODE_STATUS.topic(node="node-1"),
            SERVICE_STATUS.topic(kind="manager", instance="manager-1"),
        }
        bus = MqttBus(mesh.broker.url, Identity("client", "late"))
        complete = anyio.Event()

        async def see(received: Received) -> None:  # type: ignore[type-arg]
            seen.add(received.topic)
            if seen >= wanted:
                complete.set()

        for channel in (PROJECT_STATUS, SPEC, NODE_STATUS, SERVICE_STATUS):
            bus.on(channel, see)
        async with anyio.create_task_group() as group:
            with anyio.move_on_after(5):
                await group.start(bus.run)
                await complete.wait()
            group.cancel_scope.cancel()
        assert wanted <= seen
        assert (await mesh.end(project)).stage == "completed"
        assert set(lives(mesh).values()) == {1}


async def test_time_that_the_mesh_was_away_does_not_count(mesh: Mesh) -> None:
    async with mesh.manager() as manager:
        script = {"aggregator": {"rounds_seconds": 1}}
        deadlines = {"training": 60, "tracking": 0}
        project = await mesh.submit(script=script, training_rounds=15, deadlines=deadlines)
        status = await mesh.stage(project, "training")
        await manager.kill()
        # As if it had been killed two minutes ago.
        with closing(sqlite3.connect(mesh.root / "manager/manager.sqlite")) as connection, connection:
            then = (datetime.now(UTC) - timedelta(seconds=120)).isoformat().encode()
            connection.execute("UPDATE meta SET value = ? WHERE key = 'alive'", (then,))
        await manager.start()
        await manager.ready()
        reply = await mesh.ask(SHOW, ShowRequest(project=project))
        assert reply.status is not None
        assert reply.status.deadline is not None
        assert status.deadline is not None
        assert (reply.status.deadline - status.deadline).total_seconds() > 115
        assert any("do not count against deadlines" in notice for notice in reply.status.notices)
        assert (await mesh.end(project, seconds=40)).stage == "completed"


async def test_actors_of_a_lost_database_are_removed(mesh: Mesh) -> None:
    async with mesh.manager() as manager:
        project = await mesh.submit(script={"aggregator": {"rounds_seconds": 1000}})
        await mesh.stage(project, "training")
        await manager.kill()
        for path in (mesh.root / "manager").iterdir():
            path.unlink()
        await manager.start()
        await mesh.gone()
