"""The state is the fold of the log, and nothing else."""

from __future__ import annotations

import pytest
from flops_manager.project.log import Details, Draft, Entry
from flops_manager.project.state import append, fold
from flops_protocol.errors import FlopsError
from flops_protocol.messages.project import EventName, ProjectStage, Role

from tests.unit.manager.samples import (
    COMMIT,
    START,
    building,
    deploying,
    enter,
    event,
    grown,
    later,
    placed,
    project,
    submitted,
    training,
)

ERROR = FlopsError("FLOPS-B012", "no fit_model").body


def ended(stage: ProjectStage = ProjectStage.FAILED) -> Draft:
    return enter(stage)


def test_a_submission_opens_the_history() -> None:
    state = project()
    assert (state.sequence, state.stage, state.attempt) == (1, ProjectStage.ACCEPTED, 1)
    assert state.notices == ("a notice",)
    assert state.deadline == later(60)


def test_a_history_that_begins_otherwise_is_refused() -> None:
    with pytest.raises(ValueError, match="begins with"):
        append(None, [enter(ProjectStage.RESOLVING)], START, project="p")


def test_a_second_submission_is_refused() -> None:
    with pytest.raises(ValueError, match="submitted twice"):
        grown(project(), submitted())


def test_a_gap_in_the_sequence_is_refused() -> None:
    state = project()
    _, entries = append(state, [enter(ProjectStage.RESOLVING)], START)
    skipped = entries[0].model_copy(update={"event": entries[0].event.model_copy(update={"sequence": 3})})
    with pytest.raises(ValueError, match="3 follows on 1"):
        fold(state, skipped)


def test_a_stage_is_never_left_backwards() -> None:
    with pytest.raises(ValueError, match="back to"):
        grown(building(), enter(ProjectStage.RESOLVING))


def test_a_project_does_not_end_while_something_of_it_is_there() -> None:
    with pytest.raises(ValueError, match="ends while builder"):
        grown(building(), ended())


def test_entries_survive_their_way_through_the_database() -> None:
    drafts = [submitted(), enter(ProjectStage.RESOLVING, commit=COMMIT), placed(Role.BUILDER, "builder", "build-1")]
    state, entries = append(None, drafts, START, project="p-1")
    again = None
    for entry in entries:
        read = Entry(
            event=type(entry.event).model_validate_json(entry.event.model_dump_json(exclude_none=True)),
            details=Details.model_validate_json(entry.details.model_dump_json(exclude_defaults=True, by_alias=True)),
        )
        again = fold(again, read)
    assert again == state


def test_a_lost_actor_is_started_again_and_its_old_words_are_void() -> None:
    state = grown(
        building(),
        event(EventName.ACTOR_READY, Role.BUILDER, "builder"),
        event(EventName.ACTOR_LOST, Role.BUILDER, "builder", details=Details(void_epoch=7)),
    )
    builder = state.actors["builder"]
    assert (builder.ready, builder.restarts, builder.void_epoch) == (False, 1, 7)
    assert builder.condition == "restarting"


def test_a_learner_that_is_given_up_leaves_its_reason() -> None:
    lost = event(
        EventName.ACTOR_LOST, Role.LEARNER, "node-1-1", error=ERROR, details=Details(given_up=True, void_epoch=1)
    )
    state = grown(training(), lost)
    assert state.actors["node-1-1"].given_up
    assert state.actors["node-1-1"].restarts == 0
    assert state.last_loss == ERROR


def test_an_error_that_is_not_fatal_leaves_the_project_as_it_is() -> None:
    state = grown(building(), event(EventName.ERROR_REPORTED, error=ERROR))
    assert (state.error, state.outcome, state.reports) == (None, None, 1)


def test_a_fatal_error_decides_the_end() -> None:
    details = Details(outcome=ProjectStage.FAILED)
    state = grown(building(), event(EventName.ERROR_REPORTED, error=ERROR, details=details))
    assert (state.error, state.outcome) == (ERROR, ProjectStage.FAILED)
    assert state.deadline is None


def test_a_retry_begins_anew_with_the_same_commit_and_goes_on_counting() -> None:
    state = grown(
        building(),
        event(EventName.ERROR_REPORTED, error=ERROR, details=Details(outcome=ProjectStage.FAILED)),
        event(EventName.ACTOR_REMOVED, Role.BUILDER, "builder"),
        ended(),
    )
    again = grown(state, Draft(EventName.RETRIED, "again", stage=ProjectStage.ACCEPTED), at=later(5))
    assert (again.attempt, again.sequence, again.stage) == (2, state.sequence + 1, ProjectStage.ACCEPTED)
    assert (again.commit, again.error, again.outcome, again.images) == (COMMIT, None, None, None)
    assert again.stage_since == later(5)


def test_only_an_ended_project_is_retried() -> None:
    with pytest.raises(ValueError, match="is retried in building"):
        grown(building(), Draft(EventName.RETRIED, "again", stage=ProjectStage.ACCEPTED))


def test_time_that_the_mesh_was_away_moves_the_deadline_of_this_stage_only() -> None:
    state = building()
    paused = grown(state, event(EventName.NOTICE, details=Details(paused_seconds=100)))
    assert paused.deadline is not None
    assert state.deadline is not None
    assert (paused.deadline - state.deadline).total_seconds() == 100
    assert grown(paused, enter(ProjectStage.DEPLOYING), at=later(1)).paused_seconds == 0


def test_training_has_the_seconds_for_tracking_on_top() -> None:
    state = training(deadlines={"training": 100, "tracking": 20})
    assert state.deadline == later(120)


def test_notices_are_bounded() -> None:
    state = grown(deploying(), *(Draft(EventName.NOTICE, f"notice {number}") for number in range(80)))
    assert len(state.notices) == 50
    assert state.notices[-1] == "notice 79"
