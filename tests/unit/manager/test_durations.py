"""What stages took before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flops_manager.durations import stage_seconds
from flops_protocol.messages.project import EventName, ProjectEvent, ProjectStage

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def event(sequence: int, seconds: float, stage: ProjectStage, name: EventName, attempt: int = 1) -> ProjectEvent:
    at = BEGIN + timedelta(seconds=seconds)
    return ProjectEvent(project="p", sequence=sequence, name=name, at=at, stage=stage, attempt=attempt, text="x")


def test_the_last_attempt_counts_and_training_goes_by_its_rounds() -> None:
    entered, round_ = EventName.STAGE_ENTERED, EventName.ROUND_FINISHED
    events = [
        event(1, 0, ProjectStage.DEPLOYING, entered),
        event(2, 500, ProjectStage.TRAINING, entered),
        event(3, 600, ProjectStage.DEPLOYING, entered, attempt=2),
        event(4, 604, ProjectStage.TRAINING, entered, attempt=2),
        event(5, 606, ProjectStage.TRAINING, round_, attempt=2),
        event(6, 608, ProjectStage.TRAINING, round_, attempt=2),
        event(7, 610, ProjectStage.COMPLETED, entered, attempt=2),
    ]
    assert stage_seconds(events, rounds=4) == {"deploying": 4.0, "training": 12.0}


def test_nothing_is_known_of_nothing() -> None:
    assert stage_seconds([], rounds=1) == {}
