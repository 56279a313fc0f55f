"""What every bus must do: each transport's tests inherit these."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest
from flops_protocol.bus import Received
from flops_protocol.bus.base import ConnectedBus
from flops_protocol.channels import (
    BUILDER_LOG,
    BUILDER_STATUS,
    DEAD_LETTER,
    LIST,
    SHOW,
    TIMELINE,
)
from flops_protocol.envelope import MAX_BYTES, decode
from flops_protocol.errors import FlopsError
from flops_protocol.messages.actors import LogLines
from flops_protocol.messages.mesh import DeadLetter
from flops_protocol.messages.observer import TimelineEntry
from flops_protocol.messages.requests import ListRequest, Reply, ShowRequest

from tests.integration.bus.connection_suite import ConnectionSuite
from tests.integration.bus.stage import NOW, Inbox, Stage, builder, entry, eventually


class BusSuite(ConnectionSuite):
    """The behaviour that `Bus` promises. Transports add a fixture `stage`."""

    async def test_a_message_comes_with_all_that_it_came_with(self, stage: Stage) -> None:
        inbox: Inbox = Inbox()
        reader = await stage.bus("manager")
        reader.on(TIMELINE, inbox)
        await stage.group.start(reader.run)
        writer = await stage.running("observer", "main")
        await writer.publish(TIMELINE, entry(1), project="p")
        await inbox.has(1)
        await writer.publish(TIMELINE, entry(2), project="p", cause=inbox[0].envelope)
        await writer.publish(TIMELINE, entry(1), project="q")
        await inbox.has(3)
        first, second, other = inbox
        assert first.message == entry(1)
        assert first.channel is TIMELINE
        assert first.topic == "flops/v1/projects/p/observer/timeline"
        assert first.parameters == {"project": "p"}
        assert not first.retained
        assert first.envelope.source == "observer/main"
        assert first.envelope.subject == "projects/p/observer/timeline"
        assert first.envelope.dataschema == TIMELINE.schema_id
        assert [received.envelope.sequence for received in inbox] == [1, 2, 1]
        assert {received.envelope.epoch for received in inbox} == {writer.identity.epoch}
        assert second.envelope.causationid == second.envelope.correlationid == first.envelope.id
        assert other.parameters == {"project": "q"}

    async def test_state_is_there_for_whoever_comes_later(self, stage: Stage) -> None:
        writer = await stage.running("builder")
        await writer.publish(BUILDER_STATUS, builder("ready"), project="p")
        await writer.publish(BUILDER_STATUS, builder("building"), project="p")
        inbox: Inbox = Inbox()
        reader = await stage.running("manager")
        await reader.subscribe(BUILDER_STATUS, inbox)
        await inbox.has(1)
        await writer.publish(BUILDER_STATUS, builder("succeeded"), project="p")
        await inbox.has(2)
        assert inbox.states == ["building", "succeeded"]
        assert [received.retained for received in inbox] == [True, False]

    async def test_a_state_that_is_forgotten_is_gone(self, stage: Stage) -> None:
        early: Inbox = Inbox()
        writer = await stage.running("builder")
        reader = await stage.running("manager")
        await reader.subscribe(BUILDER_STATUS, early)
        await writer.publish(BUILDER_STATUS, builder("ready"), project="p")
        await writer.publish(BUILDER_STATUS, builder("ready", "q"), project="q")
        await writer.forget(BUILDER_STATUS, project="p")
        await stage.restart_empty()
        late: Inbox = Inbox()
        async with stage.visiting("observer") as visitor:
            await visitor.subscribe(BUILDER_STATUS, late)
            await late.has(1)
        assert {received.message.project for received in late} == {"q"}
        assert all(received.message.state == "ready" for received in early)

    async def test_each_handler_that_matches_is_called_once(self, stage: Stage) -> None:
        every, one, other, twice = Inbox(), Inbox(), Inbox(), Inbox()
        reader = await stage.bus("manager")
        reader.on(TIMELINE, every)
        reader.on(TIMELINE, one, project="p")
        reader.on(TIMELINE, twice, project="p")
        reader.on(TIMELINE, other, project="q")
        await stage.group.start(reader.run)
        writer = await stage.running("observer")
        for position in range(1, 21):
            await writer.publish(TIMELINE, entry(position), project="p")
        last: Inbox = Inbox()
        await reader.subscribe(TIMELINE, last, project="end")
        await writer.publish(TIMELINE, entry(1), project="end")
        await last.has(1)
        expected = [str(position) for position in range(1, 21)]
        assert one.texts == twice.texts == expected
        await every.has(21)
        assert every.texts == [*expected, "1"]
        assert other == []

    async def test_messages_of_one_writer_keep_their_order_and_come_one_at_a_time(self, stage: Stage) -> None:
        seen: list[int] = []
        inside = 0

        async def slow(received: Received[TimelineEntry]) -> None:
            nonlocal inside
            inside += 1
            assert inside == 1
            await anyio.lowlevel.checkpoint()
            seen.append(received.message.position)
            inside -= 1

        reader = await stage.bus("manager")
        reader.on(TIMELINE, slow)
        await stage.group.start(reader.run)
        writer = await stage.running("observer")
        async with anyio.create_task_group() as group:
            for position in range(1, 301):
                group.start_soon(lambda number: writer.publish(TIMELINE, entry(number), project="p"), position)
        await eventually(lambda: len(seen) == 300)
        assert seen == sorted(seen)

    async def test_a_request_gets_its_own_answer(self, stage: Stage) -> None:
        server = await stage.bus("manager")

        async def answer(request: Received[ShowRequest]) -> None:
            await server.reply(request, Reply(verb="show", project=request.message.project))

        server.on(SHOW, answer)
        await stage.group.start(server.run)
        asked: dict[str, Reply] = {}

        async def ask(client: ConnectedBus, project: str) -> None:
            asked[project] = await client.request(SHOW, ShowRequest(project=project))

        clients = [await stage.running("cli", str(number)) for number in (1, 2)]
        async with anyio.create_task_group() as group:
            for number, client in enumerate(clients):
                for index in range(10):
                    group.start_soon(ask, client, f"p-{number}-{index}")
        assert len(asked) == 20
        assert all(reply.project == project for project, reply in asked.items())

    async def test_a_request_that_nobody_answers_ends_in_time(self, stage: Stage) -> None:
        client = await stage.running("cli")
        with pytest.raises(FlopsError, match=r"FLOPS-P008 .*manager-list-request was not answered in 0\.2 s"):
            await client.request(LIST, ListRequest(), timeout=0.2)

    async def test_a_handler_may_ask_and_wait(self, stage: Stage) -> None:
        server, asker = await stage.bus("manager"), await stage.bus("observer")
        answers: list[Reply] = []

        async def answer(request: Received[ListRequest]) -> None:
            await server.reply(request, Reply(verb="list"))

        async def ask(_: Received[TimelineEntry]) -> None:
            answers.append(await asker.request(LIST, ListRequest()))

        server.on(LIST, answer)
        asker.on(TIMELINE, ask)
        await stage.group.start(server.run)
        await stage.group.start(asker.run)
        for position in (1, 2, 3):
            await server.publish(TIMELINE, entry(position), project="p")
        await eventually(lambda: len(answers) == 3)

    async def test_an_answer_goes_to_inboxes_only(self, stage: Stage) -> None:
        server = await stage.running("manager")
        request: Received[Any] = Received(
            channel=LIST,
            parameters={},
            topic=LIST.topic(),
            envelope=decode(server.compose(LIST, ListRequest()).payload, ListRequest),
            reply_to="flops/v1/projects/p/manager/spec",
        )
        with pytest.raises(FlopsError, match="FLOPS-P003"):
            await server.reply(request, Reply(verb="list"))

    async def test_a_handler_that_fails_is_called_again(self, stage: Stage) -> None:
        calls: list[int] = []
        letters: Inbox = Inbox()

        async def fails_twice(received: Received[TimelineEntry]) -> None:
            calls.append(received.message.position)
            if received.message.position == 1 and len(calls) < 3:
                raise ValueError("not yet")

        reader = await stage.bus("manager")
        reader.on(TIMELINE, fails_twice)
        reader.on(DEAD_LETTER, letters)
        await stage.group.start(reader.run)
        writer = await stage.running("observer")
        await writer.publish(TIMELINE, entry(1), project="p")
        await writer.publish(TIMELINE, entry(2), project="p")
        await eventually(lambda: len(calls) == 4)
        assert calls == [1, 1, 1, 2]
        assert letters == []

    async def test_what_cannot_be_handled_goes_to_the_dead_letters(self, stage: Stage) -> None:
        calls: list[int] = []
        letters: Inbox = Inbox()

        async def fails(received: Received[TimelineEntry]) -> None:
            calls.append(received.message.position)
            if received.message.position == 1:
                raise RuntimeError("never")

        reader = await stage.bus("manager", "main")
        reader.on(TIMELINE, fails)
        reader.on(DEAD_LETTER, letters)
        await stage.group.start(reader.run)
        writer = await stage.running("observer")
        await writer.publish(TIMELINE, entry(1), project="p")
        await writer.publish(TIMELINE, entry(2), project="p")
        await letters.has(1)
        await eventually(lambda: len(calls) == 4)
        assert calls == [1, 1, 1, 2]
        letter: DeadLetter = letters[0].message
        assert letters[0].parameters == {"service": "manager-main"}
        assert letter.service == "manager-main"
        assert letter.topic == "flops/v1/projects/p/observer/timeline"
        assert letter.attempts == 3
        assert letter.reason.code == "FLOPS-P007"
        assert letter.reason.detail == "RuntimeError: never"
        assert decode(letter.payload.encode(), TimelineEntry).data == entry(1)

    async def test_poison_does_not_stop_a_service(self, stage: Stage) -> None:
        """100 bad messages of several kinds among 1000."""
        handled, letters = Inbox(), Inbox()
        reader = await stage.bus("manager")
        reader.on(TIMELINE, handled)
        reader.on(DEAD_LETTER, letters)
        await stage.group.start(reader.run)
        writer = await stage.running("observer")
        topic = TIMELINE.topic(project="p")
        good = writer.compose(TIMELINE, entry(1), project="p").payload
        other = writer.compose(BUILDER_STATUS, builder("ready"), project="p").payload
        kinds = {
            b"no json": "FLOPS-P002",
            good[:-1]: "FLOPS-P002",
            good.replace(b'"step":1', b'"step":99'): "FLOPS-P002",
            good.replace(b'"text"', b'"tex"'): "FLOPS-P002",
            other: "FLOPS-P002",
            b"\xff\x00\xfe" * 20_000: "FLOPS-P002",
            b"[" * 5_000: "FLOPS-P002",
            good.replace(TIMELINE.type.encode(), b"flops.timeline.v2"): "FLOPS-P002",
            b'"\xc3\xa4' + "ä".encode() * MAX_BYTES: "FLOPS-P001",
        }
        bad = list(kinds)
        for number in range(10):
            await stage.raw(topic, *(bad[index % len(bad)] for index in range(number * 10, number * 10 + 10)))
            async with anyio.create_task_group() as group:
                for position in range(number * 90 + 1, number * 90 + 91):
                    group.start_soon(lambda count: writer.publish(TIMELINE, entry(count), project="p"), position)
        await handled.has(900)
        await letters.has(100)
        assert handled.texts == [str(number) for number in range(1, 901)]
        assert [letter.message.reason.code for letter in letters] == [
            kinds[bad[number % len(bad)]] for number in range(100)
        ]
        for letter in letters:
            assert letter.message.truncated == (len(letter.message.payload) > 10_000)
        assert {letter.message.payload_encoding for letter in letters} == {"utf-8", "base64"}

    async def test_a_message_that_is_too_big_is_not_composed(self, stage: Stage) -> None:
        writer = await stage.running("builder")
        lines = ["x" * 3000] * 100
        huge = LogLines(project="p", instance="builder", stream="code", at=NOW, lines=lines)
        with pytest.raises(FlopsError, match="FLOPS-P001"):
            await writer.publish(BUILDER_LOG, huge, project="p")
        small = huge.model_copy(update={"lines": ["x"]})
        payload = writer.compose(BUILDER_LOG, small, project="p").payload
        assert decode(payload, LogLines).sequence == 1
