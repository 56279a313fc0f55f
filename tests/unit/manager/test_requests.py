"""What clients ask, and what they are answered."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from flops_manager.announce import announcer
from flops_manager.repository import Allowed
from flops_manager.requests import MAX_PAGE_BYTES, Desk, digest
from flops_manager.store.store import Receipt, Store
from flops_protocol.bus import Identity
from flops_protocol.bus.memory import MemoryBroker, MemoryBus
from flops_protocol.envelope import MAX_BYTES
from flops_protocol.errors import FlopsError
from flops_protocol.messages.project import EventName, ProjectStage, Role
from flops_protocol.messages.requests import (
    CancelRequest,
    ListRequest,
    ReplayRequest,
    RetryRequest,
    ShowRequest,
    SubmitRequest,
)
from flops_protocol.sla_reader import SlaError

from tests.unit.manager.samples import COMMIT, START, enter, event, images, placed, sla

Woken = list[str]


def document(**changes: Any) -> str:
    return json.dumps({"ml_repo_url": "https://example.org/digits.git", "ml_model_flavor": "sklearn", **changes})


class Counter:
    """Clients whose messages differ."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self) -> Receipt:
        self.number += 1
        return Receipt("client/c", str(self.number))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    bus = MemoryBus(MemoryBroker(), Identity("manager", "manager-1"))
    store = await Store.open(tmp_path / "manager.sqlite", announcer(bus, None), lambda: START)
    yield store
    await store.close()


@pytest.fixture
def woken() -> Woken:
    return []


@pytest.fixture
def desk(store: Store, woken: Woken) -> Desk:
    return Desk(store, Allowed([Path("/srv")]), None, woken.append)


@pytest.fixture
def receipt() -> Counter:
    return Counter()


async def submitted(desk: Desk, receipt: Counter, **changes: Any) -> str:
    reply = await desk.submit(SubmitRequest(sla=document(**changes)), receipt())
    assert reply.project is not None
    return reply.project


async def test_a_submit_is_answered_with_the_project(desk: Desk, receipt: Counter, woken: Woken) -> None:
    reply = await desk.submit(SubmitRequest(sla=document()), receipt())
    assert reply.created
    assert reply.project is not None
    assert reply.project.startswith("digits-")
    assert woken == [reply.project]


async def test_every_mistake_of_an_sla_is_told(desk: Desk, receipt: Counter) -> None:
    with pytest.raises(SlaError) as caught:
        await desk.submit(SubmitRequest(sla='{"ml_model_flavor": "java", "typo": 1}'), receipt())
    assert caught.value.body.code == "FLOPS-S002"
    assert len(caught.value.mistakes) == 3
    with pytest.raises(SlaError) as caught:
        await desk.submit(SubmitRequest(sla="{"), receipt())
    assert caught.value.body.code == "FLOPS-S001"


async def test_a_repository_that_is_not_allowed_is_refused_at_once(desk: Desk, store: Store, receipt: Counter) -> None:
    with pytest.raises(FlopsError, match="B006"):
        await desk.submit(SubmitRequest(sla=document(ml_repo_url="ftp://example.org/x")), receipt())
    assert not store.live


async def test_what_is_not_done_yet_is_said(desk: Desk, receipt: Counter) -> None:
    reply = await desk.submit(
        SubmitRequest(sla=document(post_training_steps=["build_image_for_trained_model"])), receipt()
    )
    assert any("post_training_steps are noted, but not done" in notice for notice in reply.notices)


async def test_the_same_token_and_sla_give_the_same_project(desk: Desk, receipt: Counter) -> None:
    first = await desk.submit(SubmitRequest(sla=document(), token="t"), receipt())
    written_otherwise = json.dumps(json.loads(document()), indent=3) + " // a comment"
    again = await desk.submit(SubmitRequest(sla=written_otherwise, token="t"), receipt())
    assert (again.project, again.created) == (first.project, False)
    in_the_sla = await desk.submit(SubmitRequest(sla=document(submit_token="t")), receipt())
    assert in_the_sla.project == first.project
    with pytest.raises(FlopsError, match="S004"):
        await desk.submit(SubmitRequest(sla=document(verbose=True), token="t"), receipt())
    other = await desk.submit(SubmitRequest(sla=document()), receipt())
    assert other.project != first.project


def test_an_sla_is_the_same_however_it_is_written() -> None:
    assert digest(sla(submit_token="a")) == digest(sla())
    assert digest(sla()) != digest(sla(min_available_clients=5))


async def test_a_project_is_shown(desk: Desk, store: Store, receipt: Counter) -> None:
    project = await submitted(desk, receipt)
    reply = await desk.show(ShowRequest(project=project))
    assert reply.status is not None
    assert reply.spec is None
    await store.change(project, lambda _: [enter(ProjectStage.RESOLVING, commit=COMMIT)])
    reply = await desk.show(ShowRequest(project=project))
    assert reply.spec is not None
    assert reply.spec.commit == COMMIT
    with pytest.raises(FlopsError, match="S003"):
        await desk.show(ShowRequest(project="nobody"))


async def test_projects_are_listed_in_pages(desk: Desk, receipt: Counter) -> None:
    projects = [await submitted(desk, receipt) for _ in range(3)]
    reply = await desk.list(ListRequest(limit=2))
    assert reply.projects is not None
    assert [summary.project for summary in reply.projects] == projects[:0:-1]
    assert reply.details == {"before": projects[1]}
    reply = await desk.list(ListRequest(limit=2, before=projects[1]))
    assert reply.projects is not None
    assert [summary.project for summary in reply.projects] == projects[:1]
    assert reply.details is None


async def test_a_history_is_replayed_in_pages_that_fit_a_message(desk: Desk, store: Store, receipt: Counter) -> None:
    project = await submitted(desk, receipt)
    long = "x" * 900
    await store.change(project, lambda _: [event(EventName.IMAGE_FOUND, images=images()) for _ in range(300)])
    await store.change(project, lambda _: [placed(Role.BUILDER, "builder")])
    await store.change(project, lambda s: [event(EventName.NOTICE, Role.BUILDER, "builder") for _ in long[:50]])
    after: int | None = 0
    seen: list[int] = []
    while after is not None:
        reply = await desk.replay(ReplayRequest(project=project, after=after, limit=200))
        assert reply.events is not None
        assert len(reply.model_dump_json()) < MAX_BYTES
        seen += [entry.sequence for entry in reply.events]
        after = reply.next
    assert seen == list(range(1, 353))
    assert MAX_PAGE_BYTES < MAX_BYTES


async def test_a_project_is_cancelled_once(desk: Desk, store: Store, receipt: Counter, woken: Woken) -> None:
    project = await submitted(desk, receipt)
    woken.clear()
    reply = await desk.cancel(CancelRequest(project=project, reason="not needed"), receipt())
    assert reply.status is not None
    again = await desk.cancel(CancelRequest(project=project), receipt())
    assert again.status == reply.status
    assert woken == [project, project]
    state = await store.state(project)
    assert state.outcome is ProjectStage.CANCELLED
    entries, _ = await store.history(project, 0, 10, 10**6)
    assert entries[-1].event.text == "Cancelled on request: not needed"


async def test_what_has_ended_cannot_be_cancelled(desk: Desk, store: Store, receipt: Counter) -> None:
    project = await submitted(desk, receipt)
    await store.change(project, lambda _: [enter(ProjectStage.FAILED)])
    with pytest.raises(FlopsError, match="S005"):
        await desk.cancel(CancelRequest(project=project), receipt())


async def test_a_failed_project_is_retried_and_lives_again(desk: Desk, store: Store, receipt: Counter) -> None:
    project = await submitted(desk, receipt)
    with pytest.raises(FlopsError, match="S005"):
        await desk.retry(RetryRequest(project=project), receipt())
    await store.change(project, lambda _: [enter(ProjectStage.FAILED)])
    message = receipt()
    reply = await desk.retry(RetryRequest(project=project), message)
    assert reply.status is not None
    assert (reply.status.attempt, reply.status.stage) == (2, ProjectStage.ACCEPTED)
    assert project in store.live
    # The same message again, as after a crash, begins no third attempt.
    reply = await desk.retry(RetryRequest(project=project), message)
    assert reply.status is not None
    assert reply.status.attempt == 2
    with pytest.raises(FlopsError, match="S005"):
        await desk.retry(RetryRequest(project=project), receipt())
