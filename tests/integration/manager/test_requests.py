"""What people ask of the manager, on whole projects: cancel, retry, plan, show; and many at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flops_protocol.bus import Received
from flops_protocol.channels import BUILDER_STATUS, CANCEL, DEAD_LETTER, LIST, PLAN, RETRY, SHOW
from flops_protocol.messages.actors import BuilderStatus
from flops_protocol.messages.mesh import DeadLetter
from flops_protocol.messages.requests import (
    CancelRequest,
    ListRequest,
    PlanRequest,
    RetryRequest,
    ShowRequest,
)

from tests.integration.manager.harness import Mesh, add_data, commit, git
from tests.integration.manager.history import check_end, code

ERROR = {"code": "FLOPS-T001", "title": "The code cannot read the data", "detail": "no column 'y'", "hint": "Look."}


@pytest.mark.parametrize("stage", ["building", "deploying", "training"])
async def test_a_project_is_cancelled_in_any_stage(shared: Mesh, stage: str) -> None:
    script = {
        "building": {"builder": {"hang": True}},
        "deploying": {"learner": {"hang": True}},
        "training": {"aggregator": {"rounds_seconds": 1000}},
    }[stage]
    repository = shared.new_repository() if stage == "building" else str(shared.repository)
    project = await shared.submit(ml_repo_url=repository, script=script)
    await shared.stage(project, stage)
    reply = await shared.ask(CANCEL, CancelRequest(project=project, reason="enough"))
    assert reply.error is None
    status = await shared.end(project, seconds=10)
    assert status.stage == "cancelled"
    assert status.error is None
    await check_end(shared, project, status)
    reply = await shared.ask(CANCEL, CancelRequest(project=project))
    assert reply.error is not None
    assert reply.error.code == "FLOPS-S005"


async def test_a_failed_project_is_retried_with_the_same_commit(shared: Mesh) -> None:
    repository = shared.new_repository()
    first = git(Path(repository), "rev-parse", "HEAD")
    project = await shared.submit(ml_repo_url=repository, data_tags=["later"])
    status = await shared.end(project)
    assert (code(status), status.commit) == ("D002", first)
    commit(Path(repository), "moved on")
    add_data(shared.root / "data", "later", 10)
    reply = await shared.ask(RETRY, RetryRequest(project=project))
    assert reply.status is not None
    assert reply.status.attempt == 2
    status = await shared.stage(project, "completed")
    assert (status.attempt, status.commit, status.error) == (2, first, None)
    history = await shared.history(project)
    assert {event.instance for event in history if event.instance} == {
        "builder-a2",
        "aggregator-a2",
        "node-1-1-a2",
        "node-1-2-a2",
    }
    await check_end(shared, project, status)


async def test_a_plan_starts_nothing(shared: Mesh) -> None:
    repository = shared.new_repository()
    before = len((await shared.ask(LIST, ListRequest())).projects or [])
    sla = shared.sla(ml_repo_url=repository, ml_repo_ref="v1")
    reply = await shared.ask(PLAN, PlanRequest(sla=sla))
    assert reply.plan is not None, reply
    assert reply.plan.commit == git(Path(repository), "rev-parse", "v1^{commit}")
    assert (reply.plan.image, reply.plan.missed) == ("to-build", "There is no image of this repository yet")
    assert [(v.role, v.count) for v in reply.plan.placement] == [("builder", 1), ("aggregator", 1), ("learner", 2)]
    assert reply.plan.errors == []
    assert len((await shared.ask(LIST, ListRequest())).projects or []) == before
    await shared.end(await shared.submit(sla))
    reply = await shared.ask(PLAN, PlanRequest(sla=sla))
    assert reply.plan is not None
    assert (reply.plan.image, reply.plan.missed) == ("found", None)
    assert "building" not in reply.plan.stages


async def test_a_plan_tells_what_would_go_wrong(shared: Mesh) -> None:
    reply = await shared.ask(PLAN, PlanRequest(sla=shared.sla(data_tags=["nothing"])))
    assert reply.plan is not None
    assert [error.code for error in reply.plan.errors] == ["FLOPS-D002"]
    reply = await shared.ask(PLAN, PlanRequest(sla=shared.sla(ml_repo_ref="nothing")))
    assert reply.error is not None
    assert reply.error.code == "FLOPS-B004"
    reply = await shared.ask(PLAN, PlanRequest(sla="{}"))
    assert reply.error is not None
    assert len(reply.mistakes) == 2


async def test_what_is_not_there_cannot_be_shown(shared: Mesh) -> None:
    for channel, message in ((SHOW, ShowRequest(project="nobody")), (CANCEL, CancelRequest(project="nobody"))):
        reply = await shared.ask(channel, message)
        assert reply.error is not None
        assert reply.error.code == "FLOPS-S003"


async def test_a_poisoned_status_ends_in_the_dead_letters_and_the_manager_goes_on(shared: Mesh) -> None:
    letters: list[DeadLetter] = []

    async def take(received: Received[DeadLetter]) -> None:
        letters.append(received.message)
        shared.tell()

    await shared.bus.subscribe(DEAD_LETTER, take, service="manager-manager-1")
    status = {"project": "somebody-else", "instance": "builder", "state": "ready", "since": "2030-01-01T00:00:00Z"}
    for project in ("a-project", "another"):
        message = BuilderStatus.model_validate(status)
        await shared.bus.publish(BUILDER_STATUS, message, project=project)
    await shared.until(lambda: len(letters) == 2)
    assert [letter.reason.code for letter in letters] == ["FLOPS-P007", "FLOPS-P007"]
    assert "is about somebody-else" in letters[0].reason.detail
    assert (await shared.ask(LIST, ListRequest())).projects is not None


async def test_data_that_is_added_is_noticed(mesh: Mesh) -> None:
    async with mesh.manager(FLOPS_SCAN_SECONDS="0.2"):
        add_data(mesh.root / "data", "new", 7)
        await mesh.until(lambda: any(tag.tag == "new" and tag.rows == 7 for n in mesh.nodes for tag in n.data_tags))


async def test_many_projects_at_once(mesh: Mesh) -> None:
    async with mesh.manager():
        projects = [await mesh.submit() for _ in range(6)]
        for project in projects:
            status = await mesh.end(project, seconds=50)
            assert status.stage == "completed", json.loads(status.model_dump_json())
            await check_end(mesh, project, status)
