"""What the manager does next while actors are deployed and train."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from flops_manager.engine import Presence
from flops_manager.project.actions import Command, Fail, Halt, Remove
from flops_manager.project.log import Details, Draft
from flops_manager.project.state import ProjectState
from flops_manager.project.there import Fact, There
from flops_protocol.errors import FlopsError
from flops_protocol.messages.project import ErrorReport, EventName, ProjectStage, Role

from tests.unit.manager.looking import (
    ERROR,
    everybody,
    failure,
    look,
    names,
    there,
)
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
