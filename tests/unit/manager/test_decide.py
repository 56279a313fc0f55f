"""What the manager does next, stage by stage."""

from __future__ import annotations

from dataclasses import replace

from flops_manager.engine import Presence
from flops_manager.project.actions import Command, Deploy, LookUp, Remove, ResolveRef
from flops_manager.project.decision import Decision
from flops_manager.project.log import Details
from flops_manager.project.there import There
from flops_protocol.errors import FlopsError
from flops_protocol.messages.project import EventName, ProjectStage, Role

from tests.unit.manager.looking import (
    everybody,
    failure,
    look,
    names,
    there,
)
from tests.unit.manager.samples import (
    COMMIT,
    START,
    building,
    enter,
    event,
    grown,
    images,
    later,
    node,
    process,
    project,
    report,
)

# accepted and resolving


def test_an_accepted_project_has_its_ref_resolved() -> None:
    decision = look(project(), There())
    assert decision.actions == [ResolveRef(1)]
    assert decision.wake_at == later(60)


def test_a_retried_project_goes_on_with_its_commit() -> None:
    decision = look(replace(project(), commit=COMMIT), There())
    assert decision.actions == []
    assert decision.drafts[0].stage is ProjectStage.RESOLVING


def test_a_resolved_project_is_looked_up() -> None:
    assert look(project(enter(ProjectStage.RESOLVING, commit=COMMIT)), There()).actions == [LookUp(1)]


# building


def test_the_builder_is_placed_once_the_nodes_are_known() -> None:
    state = project(enter(ProjectStage.RESOLVING, commit=COMMIT), enter(ProjectStage.BUILDING))
    assert look(state, There()).drafts == []
    assert look(state, There()).wake_at == later(1)
    decision = look(state, There(nodes=(node("node-2", actors=3), node("node-1", actors=5))))
    assert [(d.name, d.instance, d.node) for d in decision.drafts] == [(EventName.ACTOR_PLACED, "builder", "node-2")]


def test_without_a_node_that_builds_the_project_fails() -> None:
    state = project(enter(ProjectStage.RESOLVING, commit=COMMIT), enter(ProjectStage.BUILDING))
    error = failure(look(state, There(nodes=(node(capabilities=["learner"]),)))).error
    assert error.code == "FLOPS-D001"
    assert "node-1 lacks the capability image-builder" in error.detail


def test_a_placed_builder_is_deployed() -> None:
    assert look(building(), there()).actions == [Deploy("builder", 0)]


def test_while_the_engine_does_not_answer_nothing_is_deployed() -> None:
    assert look(building(), There(running=None)).actions == []


def test_a_ready_builder_is_told_what_to_build() -> None:
    state = building()
    view = there(report(state, "builder", "ready", command=None), running=everybody(state))
    decision = look(state, view)
    assert names(decision) == ["actor-ready"]
    decision = look(grown(state, *decision.drafts), view)
    assert decision.actions == [Command(Role.BUILDER, (("builder", 0),))]


def test_a_builder_that_knows_is_left_alone() -> None:
    state = grown(building(), event(EventName.ACTOR_READY, Role.BUILDER, "builder"))
    decision = look(state, there(report(state, "builder", "building"), running=everybody(state)))
    assert (decision.actions, decision.drafts) == ([], [])


def test_a_finished_build_is_written_down_with_its_repairs() -> None:
    state = building()
    done = report(state, "builder", "succeeded", images=images(), repairs=["mlflow was taken out"])
    # Even from a builder that is gone already, and whose readiness was never seen.
    decision = look(state, there(done))
    assert names(decision) == ["actor-ready", "build-finished", "notice", "stage-entered"]
    assert decision.drafts[-1].stage is ProjectStage.DEPLOYING


def test_a_failed_build_fails_the_project_with_the_builders_error() -> None:
    state = building()
    error = FlopsError("FLOPS-B012", "no fit_model", file="model_manager.py", line=3).body
    fail = failure(look(state, there(report(state, "builder", "failed", error=error), running=everybody(state))))
    assert (fail.error, fail.instance) == (error, "builder")


def test_a_result_of_another_command_counts_for_nothing() -> None:
    state = grown(building(), event(EventName.ACTOR_READY, Role.BUILDER, "builder"))
    old = report(state, "builder", "succeeded", images=images(), command="build-0")
    assert look(state, there(old, running=everybody(state))).actions == [Command(Role.BUILDER, (("builder", 0),))]


def test_a_builder_that_died_is_started_once_more_and_then_given_up() -> None:
    state = building()
    dead = process(state, "builder", Presence.EXITED, ended_at=START, exit_code=137)
    decision = look(state, there(report(state, "builder", "building", epoch=5), running=[dead]), later(1))
    assert names(decision) == ["actor-lost"]
    assert "killed by signal 9" in decision.drafts[0].text
    state = grown(state, *decision.drafts)
    assert look(state, there(running=[dead]), later(1)).actions == [Deploy("builder", 1)]
    again = process(state, "builder", Presence.EXITED, ended_at=START, exit_code=1)
    error = failure(look(state, there(running=[again]), later(1))).error
    assert error.code == "FLOPS-B042"
    assert "exit code 1" in error.detail


def test_last_words_of_an_actor_that_ended_are_waited_for() -> None:
    state = building()
    dead = process(state, "builder", Presence.EXITED, ended_at=START, exit_code=1)
    decision = look(state, there(report(state, "builder", "building"), running=[dead]), later(0.1))
    assert decision.drafts == []
    assert decision.wake_at == later(0.5)


def test_a_builder_that_says_nothing_is_as_good_as_dead() -> None:
    state = building()
    view = there(running=everybody(state))
    assert look(state, view, later(59)).wake_at == later(60)
    assert names(look(state, view, later(60))) == ["actor-lost"]


def test_lost_is_a_hint_and_the_engine_has_the_last_word() -> None:
    state = grown(building(), event(EventName.ACTOR_READY, Role.BUILDER, "builder"))
    view = there(report(state, "builder", "lost"), running=everybody(state))
    decision = look(state, view, later(10))
    assert (decision.drafts, decision.actions, decision.wake_at) == ([], [], later(30))
    assert names(look(state, view, later(30))) == ["actor-lost"]


def test_what_an_earlier_life_said_counts_for_nothing() -> None:
    state = grown(building(), event(EventName.ACTOR_LOST, Role.BUILDER, "builder", details=Details(void_epoch=10)))
    done = report(state, "builder", "succeeded", images=images(), epoch=10)
    assert look(state, there(done, running=everybody(state))).drafts == []


def test_a_build_beyond_its_deadline_fails() -> None:
    state = building(deadlines={"building": 100})
    view = there(report(state, "builder", "building"), running=everybody(state))
    assert look(grown(state, event(EventName.ACTOR_READY, Role.BUILDER, "builder")), view, later(99)).actions == []
    error = failure(look(grown(state, event(EventName.ACTOR_READY, Role.BUILDER, "builder")), view, later(100))).error
    assert error.code == "FLOPS-B043"
    assert "builder building" in error.detail


def test_a_build_that_finished_in_time_counts_even_if_it_is_seen_too_late() -> None:
    state = building(deadlines={"building": 100})
    done = report(state, "builder", "succeeded", images=images())
    assert "build-finished" in names(look(state, there(done), later(1000)))


# the end


def test_the_end_comes_when_everything_is_removed() -> None:
    state = grown(building(), event(EventName.CANCEL_REQUESTED, details=Details(outcome=ProjectStage.CANCELLED)))
    assert look(state, there(), later(10_000)).actions == [Remove("builder")]
    state = grown(state, event(EventName.ACTOR_REMOVED, Role.BUILDER, "builder"))
    decision = look(state, there())
    assert decision.drafts[0].stage is ProjectStage.CANCELLED
    state = grown(state, *decision.drafts)
    assert look(state, there()) == Decision()


# silence


def test_nothing_follows_from_silence_before_we_listen() -> None:
    """What an actor said while the manager was away is on its way: it is waited for before it is given up."""
    state = building()
    dead = process(state, "builder", Presence.EXITED, ended_at=START, exit_code=1)
    for running, patience in ((everybody(state), 60), ([dead], 0.5)):
        view = there(running=running, listening_since=later(100))
        assert look(state, view, later(100)).drafts == []
        assert look(state, view, later(100)).wake_at == later(100 + patience)
        assert names(look(state, view, later(100 + patience))) == ["actor-lost"]
    state = grown(state, event(EventName.ACTOR_READY, Role.BUILDER, "builder"))
    view = there(report(state, "builder", "lost"), running=everybody(state), listening_since=later(100))
    assert look(state, view, later(129)).drafts == []
    assert names(look(state, view, later(130))) == ["actor-lost"]


def test_a_deadline_that_passed_while_nobody_listened_waits_for_what_is_on_its_way() -> None:
    state = building(deadlines={"building": 100})
    state = grown(state, event(EventName.ACTOR_READY, Role.BUILDER, "builder"))
    busy = report(state, "builder", "building")
    view = there(busy, running=everybody(state), listening_since=later(500))
    assert look(state, view, later(500)).actions == []
    assert look(state, view, later(500)).wake_at == later(500.5)
    assert failure(look(state, view, later(500.5))).error.code == "FLOPS-B043"
