"""The timeline: an event of the manager's log as one line for people."""

from __future__ import annotations

from typing import Literal

from flops_protocol.messages.observer import TimelineEntry
from flops_protocol.messages.project import EventName, ProjectEvent, ProjectStage

Level = Literal["info", "notice", "warning", "error"]

STEPS: dict[ProjectStage, int] = {
    ProjectStage.ACCEPTED: 1,
    ProjectStage.RESOLVING: 1,
    ProjectStage.BUILDING: 2,
    ProjectStage.DEPLOYING: 4,
    ProjectStage.TRAINING: 5,
    ProjectStage.PACKAGING: 6,
    ProjectStage.SERVING: 7,
    ProjectStage.COMPLETED: 0,
    ProjectStage.FAILED: 0,
    ProjectStage.CANCELLED: 0,
}
"""FLOps's number of each stage. Building has two: 2 until the builder is ready, 3 from then on."""

SURVIVABLE = {"FLOPS-T012", "FLOPS-T015", "FLOPS-T017"}
"""Errors that a project outlives: a lost learner or aggregator, an MLflow that is away."""

_NOTICES = {
    EventName.NOTICE,
    EventName.CANCEL_REQUESTED,
    EventName.RETRIED,
}
_BUILDER_AT_WORK = {
    EventName.ACTOR_READY,
    EventName.ACTOR_LOST,
    EventName.BUILD_FINISHED,
    EventName.ERROR_REPORTED,
    EventName.NOTICE,
}


def entry(event: ProjectEvent) -> TimelineEntry:
    """The line that an event makes. Its position is the event's sequence, so that saying it twice is harmless."""
    return TimelineEntry(
        project=event.project,
        position=event.sequence,
        step=_step(event),
        stage=event.stage,
        level=_level(event),
        text=_text(event),
        at=event.at,
    )


def _step(event: ProjectEvent) -> int:
    if event.stage is ProjectStage.BUILDING and event.name in _BUILDER_AT_WORK:
        return 3
    return STEPS[event.stage]


def _level(event: ProjectEvent) -> Level:
    if event.error is not None:
        return "warning" if event.error.code in SURVIVABLE and event.stage is not ProjectStage.FAILED else "error"
    if event.stage is ProjectStage.FAILED and event.name is EventName.STAGE_ENTERED:
        return "error"
    if event.name is EventName.ACTOR_LOST:
        return "warning"
    return "notice" if event.name in _NOTICES else "info"


def _text(event: ProjectEvent) -> str:
    """The event's own sentence; the error's code where the sentence does not name it."""
    if event.error is not None and event.error.code not in event.text:
        return f"{event.text} ({event.error.code})"
    return event.text
