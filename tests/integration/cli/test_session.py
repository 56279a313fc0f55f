"""Asking a service that is not there yet, and one that never comes."""

from __future__ import annotations

import pytest
from anyio import create_task_group, fail_after, sleep
from flops_cli import session
from flops_cli.session import ask, full_id
from flops_protocol.bus import Identity, Received
from flops_protocol.bus.memory import MemoryBroker, MemoryBus
from flops_protocol.channels import LIST, SUBMIT
from flops_protocol.errors import FlopsError
from flops_protocol.messages.requests import ListRequest, Reply, SubmitRequest


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "ASK_AGAIN_SECONDS", 0.1)


async def test_ask_again_until_the_service_is_there() -> None:
    broker = MemoryBroker()
    reader = MemoryBus(broker, Identity("cli", "cli-1"))
    manager = MemoryBus(broker, Identity("manager", "manager-1"))

    async def on_list(received: Received[ListRequest]) -> None:
        await manager.reply(received, Reply(verb="list", projects=[]))

    manager.on(LIST, on_list)

    async def come_late() -> None:
        await sleep(0.25)
        await group.start(manager.run)

    with fail_after(5):
        async with create_task_group() as group:
            await group.start(reader.run)
            group.start_soon(come_late)
            assert (await ask(reader, LIST, ListRequest(), timeout=4)).projects == []
            group.cancel_scope.cancel()


async def test_nobody_answers_and_a_submit_is_sent_once() -> None:
    broker = MemoryBroker()
    reader = MemoryBus(broker, Identity("cli", "cli-1"))
    manager = MemoryBus(broker, Identity("manager", "manager-1"))
    heard: list[str] = []

    async def on_request(received: Received[ListRequest] | Received[SubmitRequest]) -> None:
        heard.append(received.channel.name)

    manager.on(LIST, on_request)
    manager.on(SUBMIT, on_request)
    async with create_task_group() as group:
        await group.start(manager.run)
        await group.start(reader.run)
        for channel, message in ((LIST, ListRequest()), (SUBMIT, SubmitRequest(sla="{}"))):
            with pytest.raises(FlopsError, match="FLOPS-P008"):
                await ask(reader, channel, message, timeout=0.35)  # type: ignore[arg-type]
        group.cancel_scope.cancel()
    assert heard.count(LIST.name) >= 3
    assert heard.count(SUBMIT.name) == 1


async def test_full_id_by_the_start_of_it() -> None:
    broker = MemoryBroker()
    reader = MemoryBus(broker, Identity("cli", "cli-1"))
    manager = MemoryBus(broker, Identity("manager", "manager-1"))

    async def on_list(received: Received[ListRequest]) -> None:
        projects = [
            {
                "project": name,
                "stage": "completed",
                "repository_url": "r",
                "submitted_at": "2025-01-01T00:00:00Z",
                "stage_since": "2025-01-01T00:00:00Z",
            }
            for name in ("digits-2", "digits-1", "faces-1")
        ]
        await manager.reply(received, Reply.model_validate({"verb": "list", "projects": projects}))

    manager.on(LIST, on_list)
    async with create_task_group() as group:
        await group.start(manager.run)
        await group.start(reader.run)
        assert await full_id(reader, "faces") == "faces-1"
        assert await full_id(reader, "last") == "digits-2"
        for unclear in ("digits", "moon"):
            with pytest.raises(FlopsError, match="FLOPS-S003"):
                await full_id(reader, unclear)
        group.cancel_scope.cancel()
