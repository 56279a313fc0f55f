"""Whole projects: a real broker, a manager process, scripted actors run by the process engine."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Any

import anyio
import pytest
from flops_protocol.channels import CANCEL, SUBMIT
from flops_protocol.messages.project import EventName
from flops_protocol.messages.requests import (
    CancelRequest,
    SubmitRequest,
)

from tests.integration.manager.harness import Mesh, commit, git
from tests.integration.manager.history import check_end, code, lost

ERROR = {"code": "FLOPS-T001", "title": "The code cannot read the data", "detail": "no column 'y'", "hint": "Look."}


async def test_a_project_is_built_deployed_trained_and_cleared_away(shared: Mesh) -> None:
    project = await shared.submit(ml_repo_url=shared.new_repository())
    status = await shared.end(project)
    assert status.stage == "completed", status
    assert status.training is not None
    assert status.training.best.round == 2
    assert status.images is not None
    assert status.images.lookup == "built"
    assert "mlflow was taken out of the learner" in status.notices
    stages = [event.stage.value for event in await shared.history(project) if event.name is EventName.STAGE_ENTERED]
    assert stages == ["resolving", "building", "deploying", "training", "completed"]
    await check_end(shared, project, status)


async def test_the_same_inputs_are_not_built_twice(shared: Mesh) -> None:
    repository = shared.new_repository()
    await shared.end(await shared.submit(ml_repo_url=repository))
    project = await shared.submit(ml_repo_url=repository)
    status = await shared.end(project)
    assert status.stage == "completed"
    assert status.images is not None
    assert status.images.lookup == "found"
    history = await shared.history(project)
    assert "building" not in {event.stage.value for event in history}
    assert "builder" not in {event.instance for event in history}
    # One new commit, and it is another image.
    commit(Path(repository), "second")
    history = await shared.history((await shared.end(await shared.submit(ml_repo_url=repository))).project)
    missed = next(event for event in history if event.name is EventName.IMAGE_MISSED)
    assert missed.text.startswith("No image has the same commit (")


async def test_a_wrong_sla_is_answered_with_every_mistake(shared: Mesh) -> None:
    reply = await shared.ask(SUBMIT, SubmitRequest(sla='{"ml_repo_url": 3, "ml_model_flavor": "java"}'))
    assert reply.error is not None
    assert reply.error.code == "FLOPS-S002"
    assert {mistake.path for mistake in reply.mistakes} == {"$.ml_repo_url", "$.ml_model_flavor"}
    reply = await shared.ask(SUBMIT, SubmitRequest(sla="not json"))
    assert reply.error is not None
    assert reply.error.code == "FLOPS-S001"


async def test_a_token_names_one_project(shared: Mesh) -> None:
    first = await shared.submit(token="token-1")
    assert await shared.submit(token="token-1") == first
    reply = await shared.ask(SUBMIT, SubmitRequest(sla=shared.sla(training_rounds=9), token="token-1"))
    assert reply.error is not None
    assert reply.error.code == "FLOPS-S004"
    await shared.end(first)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"ml_repo_url": "/nowhere/at/all"}, "B001", id="repository not found"),
        pytest.param({"ml_repo_ref": "develop"}, "B004", id="ref unknown"),
        pytest.param({"data_tags": ["mnist"]}, "D002", id="data tag on no node"),
        pytest.param({"min_available_clients": 101}, "D003", id="fewer learners than min_available_clients"),
        pytest.param({"supported_platforms": ["linux/arm64"]}, "D001", id="platform of no node"),
    ],
)
async def test_what_cannot_go_on_fails_at_once(shared: Mesh, changes: dict[str, Any], expected: str) -> None:
    project = await shared.submit(**changes)
    status = await shared.end(project, seconds=10)
    assert (status.stage, code(status)) == ("failed", expected)
    await shared.until(lambda: project in shared.errors)
    assert shared.errors[project][0].error == status.error
    assert shared.errors[project][0].fatal
    await check_end(shared, project, status)


async def test_an_empty_repository(shared: Mesh) -> None:
    folder = shared.root / "empty"
    folder.mkdir()
    git(folder, "init", "-q")
    assert code(await shared.end(await shared.submit(ml_repo_url=str(folder)))) == "B003"


async def test_a_refused_node_says_so_in_its_status(shared: Mesh) -> None:
    project = await shared.submit(data_tags=["nothing"])
    await shared.end(project)
    await shared.until(lambda: any(project in node.refused for node in shared.nodes))
    refused = next(node.refused[project] for node in shared.nodes if project in node.refused)
    assert "learner: has no data with the tag 'nothing'" in refused


async def test_a_slow_project_is_in_nobodys_way(shared: Mesh) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/a.git"
        slow = [await shared.submit(ml_repo_url=url, deadlines={"resolving": 4}) for _ in range(3)]
        quick = await shared.submit()
        assert (await shared.end(quick)).stage == "completed"
        for project in slow:
            assert code(await shared.end(project, seconds=10)) == "B044"


# building


async def test_a_builders_error_is_the_projects(shared: Mesh) -> None:
    error = ERROR | {"code": "FLOPS-B012", "file": "model_manager.py", "line": 3}
    project = await shared.submit(ml_repo_url=shared.new_repository(), script={"builder": {"fail": error}})
    status = await shared.end(project)
    assert status.error is not None
    assert (status.error.code, status.error.file, status.error.line) == ("FLOPS-B012", "model_manager.py", 3)
    await check_end(shared, project, status)


async def test_a_builder_that_dies_is_started_once_more(shared: Mesh) -> None:
    project = await shared.submit(ml_repo_url=shared.new_repository(), script={"builder": {"die": "working"}})
    status = await shared.end(project)
    assert status.stage == "completed"
    assert await lost(shared, project) == ["builder"]


async def test_a_builder_that_keeps_dying_is_lost_and_leaves_its_log(shared: Mesh) -> None:
    script = {"builder": {"die": "working", "times": 9}}
    project = await shared.submit(ml_repo_url=shared.new_repository(), script=script)
    status = await shared.end(project)
    assert code(status) == "B042"
    await shared.until(lambda: project in shared.errors)
    assert "dies at working" in shared.errors[project][0].log_tail
    await check_end(shared, project, status)


async def test_a_build_that_hangs_ends_with_its_deadline(shared: Mesh) -> None:
    with anyio.fail_after(12):
        project = await shared.submit(
            ml_repo_url=shared.new_repository(), script={"builder": {"hang": True}}, deadlines={"building": 3}
        )
        status = await shared.end(project)
    assert code(status) == "B043"
    assert (status.stage_since - status.submitted_at).total_seconds() < 10
    await check_end(shared, project, status)


async def test_an_actor_that_hangs_without_a_word_is_replaced(shared: Mesh) -> None:
    """Stopped, it neither ends nor answers: the broker says that it is lost, and the engine that it runs."""
    project = await shared.submit(ml_repo_url=shared.new_repository(), script={"builder": {"hang": True}})
    await shared.until(lambda: EventName.ACTOR_READY in [e.name for e in shared.events.get(project, [])])
    pid = int((shared.root / f"engine/actors/{project}/builder/pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    # Twice the keepalive until the broker notices, and the patience after that.
    await shared.until(lambda: EventName.ACTOR_LOST in [e.name for e in shared.events[project]], seconds=40)
    event = next(e for e in shared.events[project] if e.name is EventName.ACTOR_LOST)
    assert "away from the broker" in event.text
    await shared.ask(CANCEL, CancelRequest(project=project))
    await shared.end(project)


# training


async def test_a_dead_learner_comes_back(shared: Mesh) -> None:
    script = {"learner": {"die": "training", "only": ["node-1-2"]}, "aggregator": {"rounds_seconds": 0.5}}
    project = await shared.submit(script=script, training_rounds=4)
    status = await shared.end(project)
    assert status.stage == "completed"
    assert await lost(shared, project) == ["node-1-2"]
    await check_end(shared, project, status)


async def test_the_training_goes_on_without_a_learner_that_keeps_dying(shared: Mesh) -> None:
    script = {"learner": {"die": "training", "times": 99, "only": ["node-1-2"]}, "aggregator": {"rounds_seconds": 1.5}}
    project = await shared.submit(script=script, training_rounds=4, min_fit_clients=1)
    assert (await shared.end(project, seconds=40)).stage == "completed"
    assert set(await lost(shared, project)) == {"node-1-2"}


async def test_too_few_learners_end_the_training(shared: Mesh) -> None:
    script = {"learner": {"die": "training", "times": 99, "only": ["node-1-2"]}, "aggregator": {"rounds_seconds": 9}}
    project = await shared.submit(script=script, min_fit_clients=2)
    status = await shared.end(project)
    assert code(status) == "T011"
    await check_end(shared, project, status)


async def test_a_learner_that_cannot_read_its_data_says_why(shared: Mesh) -> None:
    project = await shared.submit(script={"learner": {"fail": ERROR}})
    status = await shared.end(project)
    assert status.error is not None
    assert (status.error.code, status.error.detail) == ("FLOPS-T001", "no column 'y'")
    await check_end(shared, project, status)


async def test_an_aggregator_that_dies_resumes_and_no_round_is_told_twice(shared: Mesh) -> None:
    project = await shared.submit(script={"aggregator": {"die": 3}}, training_rounds=4)
    status = await shared.end(project)
    assert status.stage == "completed"
    assert await lost(shared, project) == ["aggregator"]
    rounds = [
        e.metrics.round for e in await shared.history(project) if e.name is EventName.ROUND_FINISHED and e.metrics
    ]
    assert rounds == [1, 2, 3, 4]


async def test_an_aggregator_that_keeps_dying_is_lost(shared: Mesh) -> None:
    project = await shared.submit(script={"aggregator": {"die": 2, "times": 99}})
    status = await shared.end(project)
    assert code(status) == "T017"
    assert await lost(shared, project) == ["aggregator"] * 3
    await check_end(shared, project, status)


async def test_actors_that_never_join_end_with_the_deployments_deadline(shared: Mesh) -> None:
    script = {"learner": {"hang": True, "only": ["node-1-1"]}}
    project = await shared.submit(script=script, deadlines={"deploying": 4})
    status = await shared.end(project)
    assert status.error is not None
    assert code(status) == "D006"
    assert "node-1-1 ready" in status.error.detail
    await check_end(shared, project, status)


async def test_a_training_that_hangs_ends_with_its_deadline(shared: Mesh) -> None:
    script = {"aggregator": {"rounds_seconds": 1000}}
    project = await shared.submit(script=script, deadlines={"training": 2, "tracking": 0})
    assert code(await shared.end(project)) == "T013"


async def test_what_mlflow_has_not_taken_is_kept(shared: Mesh) -> None:
    project = await shared.submit(script={"aggregator": {"untracked": True}})
    status = await shared.end(project)
    assert status.stage == "completed"
    assert status.training is not None
    assert not status.training.tracked
    assert (shared.root / f"engine/actors/{project}/aggregator/state/checkpoint").exists()
    assert not (shared.root / f"engine/actors/{project}/node-1-1").exists()


async def test_actors_that_do_not_want_to_end_are_killed(shared: Mesh) -> None:
    project = await shared.submit(script={role: {"stubborn": True} for role in ("learner", "aggregator")})
    status = await shared.end(project)
    assert status.stage == "completed"
    await check_end(shared, project, status)
