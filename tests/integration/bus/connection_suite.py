"""What every bus must do when connections, brokers and processes come and go; a part of `suite.BusSuite`."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest
from flops_protocol.bus import Received
from flops_protocol.bus.base import ConnectedBus
from flops_protocol.channels import (
    BUILDER_STATUS,
    SERVICE_STATUS,
    TIMELINE,
)
from flops_protocol.errors import FlopsError
from flops_protocol.messages.mesh import ServiceStatus
from flops_protocol.messages.observer import TimelineEntry

from tests.integration.bus.stage import Inbox, Stage, builder, entry, eventually, manager, will


class ConnectionSuite:
    """The behaviour that `Bus` promises of its connection."""

    async def test_own_state_is_said_again_after_a_broker_lost_it(self, stage: Stage) -> None:
        writers = [await stage.running("builder", str(number)) for number in range(3)]
        for number, writer in enumerate(writers):
            for index in range(10):
                project = f"p-{number}-{index}"
                await writer.publish(BUILDER_STATUS, builder("ready", project), project=project)
                await writer.publish(BUILDER_STATUS, builder("building", project), project=project)
        before: Inbox = Inbox()
        reader = await stage.running("manager")
        await reader.subscribe(BUILDER_STATUS, before)
        await before.has(30)
        known = {received.envelope.id for received in before}
        await stage.restart_empty()
        healed: Inbox = Inbox()
        with anyio.fail_after(5):
            async with stage.visiting("observer") as visitor:
                await visitor.subscribe(BUILDER_STATUS, healed)
                await healed.has(30)
        assert {received.message.project for received in healed} == {r.message.project for r in before}
        assert set(healed.states) == {"building"}
        # A new statement, not an old one repeated: whoever drops what it has seen must not drop this.
        assert not known & {received.envelope.id for received in healed}
        assert {received.envelope.sequence for received in healed} == {3}

    async def test_after_a_reconnect_everything_stands_before_the_callback(self, stage: Stage) -> None:
        inbox: Inbox = Inbox()
        connects: list[int] = []
        bus = await stage.bus("manager", "main")
        bus.on(SERVICE_STATUS, inbox)
        bus.on(TIMELINE, inbox)

        async def broken() -> None:
            raise RuntimeError("a callback that fails is logged, and changes nothing")

        async def on_connect() -> None:
            await bus.publish(TIMELINE, entry(len(connects) + 1, "connected"), project="p")
            connects.append(len(inbox))

        bus.on_connect(broken)
        bus.on_connect(on_connect)
        await stage.group.start(bus.run)
        assert len(connects) == 1
        await bus.publish(SERVICE_STATUS, manager("up"), kind="manager", instance="main")
        await inbox.has(2)
        await stage.restart_empty()
        await eventually(lambda: len(connects) == 2)
        await inbox.has(4)
        after = [received.channel.name for received in inbox[2:]]
        assert after == ["service-status", "observer-timeline"]

    async def test_a_subscription_made_while_running_lasts(self, stage: Stage) -> None:
        inbox: Inbox = Inbox()
        reader, writer = await stage.running("manager"), await stage.running("observer")
        await reader.subscribe(TIMELINE, inbox)
        await stage.restart_empty()
        async with anyio.create_task_group() as group:

            async def keep_saying() -> None:
                for position in range(1, 1000):
                    await writer.publish(TIMELINE, entry(position), project="p")
                    await anyio.sleep(0.01)

            group.start_soon(keep_saying)
            await inbox.has(1)
            group.cancel_scope.cancel()

    async def test_what_is_published_during_an_outage_arrives_afterwards_in_order(self, stage: Stage) -> None:
        inbox: Inbox = Inbox()
        reader = await stage.bus("manager")
        reader.on(TIMELINE, inbox)
        await stage.group.start(reader.run)
        writer = await stage.running("observer")
        await stage.close(writer)
        async with anyio.create_task_group() as group:
            for position in range(1, 51):
                group.start_soon(lambda number: writer.publish(TIMELINE, entry(number), project="p"), position)
            await anyio.sleep(0.1)
            assert inbox == []
            stage.open(writer)
        await inbox.has(50)
        assert inbox.texts == [str(position) for position in range(1, 51)]

    async def test_what_no_broker_takes_in_time_is_given_up(self, stage: Stage) -> None:
        inbox: Inbox = Inbox()
        reader = await stage.running("manager")
        await reader.subscribe(TIMELINE, inbox)
        writer = await stage.running("observer", send_timeout=0.2)
        await stage.close(writer)
        with pytest.raises(FlopsError, match=r"FLOPS-P006 .*no broker took it in 0\.2 s"):
            await writer.publish(TIMELINE, entry(1, "given up"), project="p")
        stage.open(writer)
        await eventually(lambda: writer.connected)
        await writer.publish(TIMELINE, entry(2, "sent"), project="p")
        await inbox.has(1)
        assert inbox.texts == ["sent"]

    async def test_whoever_was_away_gets_what_was_said_meanwhile(self, stage: Stage) -> None:
        if not stage.keeps_sessions:
            pytest.skip("this broker keeps no sessions")
        inbox: Inbox = Inbox()
        reader = await stage.bus("manager", session_seconds=60)
        reader.on(TIMELINE, inbox)
        await stage.group.start(reader.run)
        writer = await stage.running("observer")
        await stage.close(reader)
        for position in range(1, 51):
            await writer.publish(TIMELINE, entry(position), project="p")
        stage.open(reader)
        await inbox.has(50)
        assert inbox.texts == [str(position) for position in range(1, 51)]

    async def test_a_message_whose_handler_was_ended_comes_again(self, stage: Stage) -> None:
        if not stage.keeps_sessions:
            pytest.skip("this broker keeps no sessions")
        started = anyio.Event()

        async def never_ends(_: Received[TimelineEntry]) -> None:
            started.set()
            await anyio.sleep_forever()

        writer = await stage.running("observer")
        first = await stage.bus("manager", "main", session_seconds=60)
        first.on(TIMELINE, never_ends)
        async with anyio.create_task_group() as group:
            await group.start(first.run)
            await writer.publish(TIMELINE, entry(1), project="p")
            await writer.publish(TIMELINE, entry(2), project="p")
            await started.wait()
            group.cancel_scope.cancel()
        inbox: Inbox = Inbox()
        second = await stage.bus("manager", "main", session_seconds=60)
        second.on(TIMELINE, inbox)
        await stage.group.start(second.run)
        await inbox.has(2)
        assert inbox.texts == ["1", "2"]

    async def test_the_last_will_is_said_when_one_is_gone_without_a_word(self, stage: Stage) -> None:
        inbox: Inbox = Inbox()
        reader = await stage.running("observer")
        await reader.subscribe(SERVICE_STATUS, inbox)
        bus = await stage.running("manager", "main", testament=will())
        await bus.publish(SERVICE_STATUS, manager("up"), kind="manager", instance="main")
        await inbox.has(1)
        await stage.close(bus)
        await inbox.has(2)
        last: Received[ServiceStatus] = inbox[-1]
        assert last.message.state == "lost"
        assert last.envelope.epoch == bus.identity.epoch
        late: Inbox = Inbox()
        await reader.subscribe(SERVICE_STATUS, late, kind="manager", instance="main")
        await late.has(1)
        assert late.states == ["lost"]
        stage.open(bus)
        await inbox.has(3)
        assert inbox.states[-1] == "up"

    async def test_a_quick_return_stays_silent(self, stage: Stage) -> None:
        inbox: Inbox = Inbox()
        reader = await stage.running("observer")
        await reader.subscribe(SERVICE_STATUS, inbox)
        bus = await stage.running("manager", "main", testament=will(1))
        await bus.publish(SERVICE_STATUS, manager("up"), kind="manager", instance="main")
        await stage.cut(bus)
        await inbox.has(2)
        await anyio.sleep(1.5)
        assert set(inbox.states) == {"up"}

    async def test_a_goodbye_leaves_the_last_will_unsaid(self, stage: Stage) -> None:
        inbox: Inbox = Inbox()
        reader = await stage.running("observer")
        await reader.subscribe(SERVICE_STATUS, inbox)
        async with stage.visiting("manager", "main", testament=will(1)) as bus:
            await bus.publish(SERVICE_STATUS, manager("down"), kind="manager", instance="main")
        await inbox.has(1)
        await anyio.sleep(1.5)
        assert inbox.states == ["down"]

    async def test_the_newer_process_takes_the_place_of_the_older(self, stage: Stage) -> None:
        older = await stage.bus("manager", "main", testament=will())
        ended: list[FlopsError] = []

        async def run_older() -> None:
            with pytest.raises(FlopsError, match="FLOPS-P012") as caught:
                await older.run()
            ended.append(caught.value)

        stage.group.start_soon(run_older)
        await eventually(lambda: older.connected)
        await anyio.sleep(0.002)  # The epoch is counted in milliseconds.
        newer = await stage.running("manager", "main", testament=will())
        await newer.publish(SERVICE_STATUS, manager("up"), kind="manager", instance="main")
        await eventually(lambda: len(ended) == 1)
        await newer.publish(SERVICE_STATUS, manager("down"), kind="manager", instance="main")
        inbox: Inbox = Inbox()
        async with stage.visiting("observer") as reader:
            await reader.subscribe(SERVICE_STATUS, inbox)
            await inbox.has(1)
        assert inbox[0].envelope.epoch == newer.identity.epoch

    async def test_a_cancelled_publish_leaves_the_bus_usable(self, stage: Stage) -> None:
        inbox: Inbox = Inbox()
        reader = await stage.running("manager")
        await reader.subscribe(TIMELINE, inbox)
        writer = await stage.running("observer")
        for position in range(1, 101):
            with anyio.move_on_after(0.0005 * (position % 7)):
                await writer.publish(TIMELINE, entry(position), project="p")
        await writer.publish(TIMELINE, entry(1000, "end"), project="p")
        await eventually(lambda: "end" in inbox.texts)
        positions = [received.message.position for received in inbox]
        assert positions == sorted(set(positions))

    async def test_a_bus_that_does_not_run_takes_nothing(self, stage: Stage) -> None:
        bus = await stage.bus("observer")
        with pytest.raises(FlopsError, match="FLOPS-P006"):
            await bus.publish(TIMELINE, entry(1), project="p")
        async with stage.visiting("observer", "2") as other:
            pass
        with pytest.raises(FlopsError, match="FLOPS-P006"):
            await other.publish(TIMELINE, entry(1), project="p")

    async def test_who_waits_when_the_bus_ends_is_told(self, stage: Stage) -> None:
        told: list[FlopsError] = []

        async def publish(bus: ConnectedBus) -> None:
            with pytest.raises(FlopsError, match="FLOPS-P006") as caught:
                await bus.publish(BUILDER_STATUS, builder("ready"), project="p")
            told.append(caught.value)

        async with anyio.create_task_group() as group, stage.visiting("builder") as bus:
            await stage.close(bus)
            group.start_soon(publish, bus)
            await anyio.sleep(0.05)
        assert len(told) == 1
