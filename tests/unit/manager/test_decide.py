"""What the manager does next, stage by stage."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from flops_manager.engine import EngineActor, Presence
from flops_manager.project.actions import Command, Deploy, Fail, Halt, LookUp, Remove, ResolveRef
from flops_manager.project.decide import decide
from flops_manager.project.decision import Decision
from flops_manager.project.log import Details, Draft
from flops_manager.project.state import ProjectState
from flops_manager.project.there import Fact, Report, There
from flops_protocol.errors import FlopsError
from flops_protocol.messages.project import ErrorReport, EventName, ProjectStage, Role

from tests.unit.manager.samples import (
    COMMIT,
    POLICY,
    PROJECT,
    START,
    TRAINING,
    building,
    deploying,
    enter,
    event,
    grown,
    images,
    later,
    node,
    process,
    project,
    report,
    round_report,
    training,
)

ERROR = FlopsError("FLOPS-T001", "no column 'label'").body


def there(*reports: Report, running: list[EngineActor] | None = None, **more: Any) -> There:
    by_name = {getattr(r.status, "instance", None) or getattr(r.status, "learner", ""): r for r in reports}
    return There(reports=by_name, running={actor.instance: actor for actor in running or []}, **more)


def look(state: ProjectState, view: There, at: datetime = START) -> Decision:
    return decide(state, view, at, POLICY)


def names(decision: Decision) -> list[str]:
    return [draft.name.value for draft in decision.drafts]


def everybody(state: ProjectState, **presences: Presence) -> list[EngineActor]:
    return [process(state, name, presences.get(name, Presence.RUNNING)) for name in state.actors]


def failure(decision: Decision) -> Fail:
    fails = [action for action in decision.actions if isinstance(action, Fail)]
    assert len(fails) == 1, decision
    return fails[0]


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


# deploying and training


def test_actors_are_placed_with_their_parts() -> None:
    state = project(
        enter(ProjectStage.RESOLVING, commit=COMMIT), enter(ProjectStage.DEPLOYING), min_available_clients=3
    )
    state = replace(state, images=images())
    decision = look(state, There(nodes=(node("node-1"), node("node-2")), running={}))
    assert decision.drafts[0].instance == "aggregator"
    parts = {
        d.instance: (d.details.placement.part, d.details.placement.parts)
        for d in decision.drafts
        if d.role is Role.LEARNER and d.details.placement
    }
    assert parts == {"node-1-1": (0, 1), "node-2-1": (0, 2), "node-2-2": (1, 2)}


def test_names_of_a_later_attempt_are_its_own() -> None:
    state = project(enter(ProjectStage.RESOLVING, commit=COMMIT), enter(ProjectStage.DEPLOYING))
    state = replace(state, images=images(), attempt=2)
    decision = look(state, There(nodes=(node(),), running={}))
    assert [draft.instance for draft in decision.drafts] == ["aggregator-a2", "node-1-1-a2", "node-1-2-a2"]


def test_the_builder_is_removed_while_the_actors_start() -> None:
    state = grown(
        building(),
        Draft(EventName.BUILD_FINISHED, "built", images=images()),
        enter(ProjectStage.DEPLOYING),
    )
    assert look(state, There(nodes=(node(),), running={})).actions == [Remove("builder")]


def test_learners_that_do_not_know_are_told_together() -> None:
    state = deploying(3)
    ready = [event(EventName.ACTOR_READY, state.actors[name].role, name) for name in state.actors]
    state = grown(state, *ready)
    view = there(
        report(state, "aggregator", "waiting"),
        report(state, "node-1-1", "ready", command=None),
        report(state, "node-1-2", "joined"),
        report(state, "node-1-3", "ready", command=None),
        running=everybody(state),
    )
    assert look(state, view).actions == [Command(Role.LEARNER, (("node-1-1", 0), ("node-1-3", 0)))]


def test_the_training_begins_with_the_aggregators_word_and_rounds_come_after_it() -> None:
    state = deploying()
    view = there(
        report(state, "aggregator", "training", joined=["node-1-1", "node-1-2"]),
        running=everybody(state),
        facts=(round_fact(1), round_fact(2, number=2)),
    )
    decision = look(state, view)
    assert names(decision)[:4] == ["actor-ready", "stage-entered", "round-finished", "round-finished"]
    assert decision.consumed == [1, 2]


def round_fact(number_of_round: int, *, number: int = 1, instance: str = "aggregator") -> Fact:
    return Fact(number, instance, round_report(number_of_round))


def test_a_round_that_is_told_again_after_a_resume_is_not_written_again() -> None:
    state = training()
    facts = (round_fact(1), round_fact(2, number=2), round_fact(2, number=3), round_fact(1, number=4))
    decision = look(state, there(running=everybody(state), facts=facts))
    assert names(decision).count("round-finished") == 2
    assert decision.consumed == [1, 2, 3, 4]


def test_what_an_unknown_actor_tells_is_dropped() -> None:
    state = training()
    decision = look(state, there(running=everybody(state), facts=(round_fact(1, instance="aggregator-a9"),)))
    assert decision.consumed == [1]
    assert "round-finished" not in names(decision)


def test_errors_that_end_nothing_are_written_up_to_a_limit() -> None:
    state = training()
    message = ErrorReport(project=PROJECT, instance="node-1-1", stage=ProjectStage.TRAINING, fatal=False, error=ERROR)
    facts = [Fact(number, "node-1-1", message) for number in range(300)]
    decision = look(state, there(running=everybody(state), facts=facts))
    assert names(decision).count("error-reported") == 200
    assert len(decision.consumed) == 300
    fatal = Fact(1, "node-1-1", message.model_copy(update={"fatal": True}))
    assert "error-reported" not in names(look(state, there(running=everybody(state), facts=[fatal])))


def test_a_finished_training_decides_the_end() -> None:
    state = training()
    decision = look(state, there(report(state, "aggregator", "done", training=TRAINING)))
    assert names(decision) == ["actor-ready", "training-finished"]
    state = grown(state, *decision.drafts)
    assert state.outcome is ProjectStage.COMPLETED
    assert look(state, there()).actions == [Remove("aggregator"), Remove("node-1-1"), Remove("node-1-2")]


def test_a_failed_aggregator_fails_the_project() -> None:
    state = training()
    error = FlopsError("FLOPS-T014", "no such strategy").body
    view = there(report(state, "aggregator", "failed", error=error), running=everybody(state))
    assert failure(look(state, view)).error == error


def test_an_aggregator_is_started_again_so_often_and_no_more() -> None:
    state = training()
    for restarts in range(POLICY.actor_restarts):
        dead = process(state, "aggregator", Presence.EXITED, ended_at=START, exit_code=137)
        decision = look(state, there(running=[dead, *everybody(state)[1:]]), later(1))
        assert names(decision)[0] == "actor-lost", restarts
        state = grown(state, decision.drafts[0])
    dead = process(state, "aggregator", Presence.EXITED, ended_at=START, exit_code=137)
    error = failure(look(state, there(running=[dead, *everybody(state)[1:]]), later(1))).error
    assert error.code == "FLOPS-T017"
    assert "started 3 times" in error.detail


def test_an_aggregator_that_never_came_up_did_not_start() -> None:
    state = deploying()
    lost = event(EventName.ACTOR_LOST, Role.AGGREGATOR, "aggregator")
    state = grown(state, *[lost] * POLICY.actor_restarts)
    dead = process(state, "aggregator", Presence.EXITED, ended_at=START, exit_code=1)
    assert failure(look(state, there(running=[dead]), later(1))).error.code == "FLOPS-D004"


def test_a_dead_learner_is_started_again_and_then_given_up() -> None:
    state = training()
    lost = event(EventName.ACTOR_LOST, Role.LEARNER, "node-1-1")
    dead = process(state, "node-1-1", Presence.EXITED, ended_at=START, exit_code=137)
    others = [process(state, name) for name in ("aggregator", "node-1-2")]
    assert [d.details.given_up for d in look(state, there(running=[dead, *others]), later(1)).drafts] == [False]
    state = grown(state, *[lost] * POLICY.actor_restarts)
    dead = replace(dead, incarnation=POLICY.actor_restarts)
    assert [d.details.given_up for d in look(state, there(running=[dead, *others]), later(1)).drafts] == [True]


def given_up(state: ProjectState, *instances: str, error: Any = None) -> ProjectState:
    return grown(
        state,
        *(
            event(EventName.ACTOR_LOST, Role.LEARNER, name, error=error, details=Details(given_up=True))
            for name in instances
        ),
    )


def test_the_training_goes_on_with_the_learners_that_are_left() -> None:
    state = given_up(training(min_fit_clients=1), "node-1-1")
    running = [process(state, name) for name in ("aggregator", "node-1-2")]
    assert not any(isinstance(action, Fail) for action in look(state, there(running=running)).actions)


def test_too_few_learners_end_the_training() -> None:
    state = given_up(training(min_fit_clients=2), "node-1-1")
    running = [process(state, name) for name in ("aggregator", "node-1-2")]
    assert failure(look(state, there(running=running))).error.code == "FLOPS-T011"


def test_before_the_training_all_that_were_asked_for_are_needed() -> None:
    state = given_up(deploying(min_fit_clients=1), "node-1-1")
    running = [process(state, name) for name in ("aggregator", "node-1-2")]
    assert failure(look(state, there(running=running))).error.code == "FLOPS-D004"


def test_the_learners_own_error_tells_most() -> None:
    state = deploying()
    view = there(report(state, "node-1-1", "failed", error=ERROR), running=everybody(state))
    decision = look(state, view)
    assert [(d.name, d.details.given_up) for d in decision.drafts][-1] == (EventName.ACTOR_LOST, True)
    state = grown(state, *decision.drafts)
    assert failure(look(state, view)).error == ERROR


def test_a_learner_that_was_given_up_is_stopped_but_stays_in_the_books() -> None:
    state = given_up(training(3), "node-1-3")
    assert Halt("node-1-3") in look(state, there(running=everybody(state))).actions


def test_a_deployment_beyond_its_deadline_says_who_was_waited_for() -> None:
    state = deploying(deadlines={"deploying": 50})
    state = grown(state, *(event(EventName.ACTOR_READY, a.role, a.instance) for a in state.actors.values()))
    view = there(
        report(state, "aggregator", "waiting"),
        report(state, "node-1-1", "joined"),
        report(state, "node-1-2", "loading-data"),
        running=everybody(state),
    )
    error = failure(look(state, view, later(50))).error
    assert error.code == "FLOPS-D006"
    assert "node-1-2 loading-data" in error.detail


@pytest.mark.parametrize(
    ("state", "code"),
    [
        pytest.param(project(), "FLOPS-B044", id="accepted"),
        pytest.param(project(enter(ProjectStage.RESOLVING, commit=COMMIT)), "FLOPS-B044", id="resolving"),
        pytest.param(training(), "FLOPS-T013", id="training"),
    ],
)
def test_every_stage_has_a_deadline(state: ProjectState, code: str) -> None:
    state = grown(state, *(event(EventName.ACTOR_READY, a.role, a.instance) for a in state.actors.values()))
    reports = [report(state, name, "training") for name in state.actors]
    assert state.deadline is not None
    error = failure(look(state, there(*reports, running=everybody(state)), state.deadline)).error
    assert error.code == code


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
