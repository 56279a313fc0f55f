"""The projection: everything that was heard of one project, folded into what people are told. Pure functions only.

Events may arrive twice, late, in any order, or not at all until they are asked for again: what comes out depends on
the set of events alone. Of a status, the newest counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from flops_protocol.messages.actors import AggregatorStatus, BuilderStatus, BuildProgress, LearnerStatus, RoundReport
from flops_protocol.messages.observer import StageSpan, TimelineEntry
from flops_protocol.messages.project import (
    EventName,
    ProjectEvent,
    ProjectSpec,
    ProjectStage,
    ProjectStatus,
    RoundMetrics,
)

from flops_observer.timeline import entry

State = ProjectSpec | ProjectStatus | BuilderStatus | AggregatorStatus | LearnerStatus | RoundReport | BuildProgress
"""What is not history: of each, only the newest counts."""


@dataclass(frozen=True)
class View:
    """What is known of one project. `applied` is the sequence up to which its history is complete."""

    project: str
    applied: int = 0
    waiting: dict[int, ProjectEvent] = field(default_factory=dict)
    """Events behind a gap, by sequence."""
    stage: ProjectStage = ProjectStage.ACCEPTED
    attempt: int = 1
    spans: tuple[StageSpan, ...] = ()
    """The stages of the newest attempt, in their order; those that end a project are no spans."""
    metrics: RoundMetrics | None = None
    spec: ProjectSpec | None = None
    status: ProjectStatus | None = None
    builder: BuilderStatus | None = None
    progress: BuildProgress | None = None
    aggregator: AggregatorStatus | None = None
    learners: dict[str, LearnerStatus] = field(default_factory=dict)
    round: RoundReport | None = None
    updated_at: datetime | None = None
    began_at: datetime | None = None
    """When the newest attempt began, if it is not the first: what actors of earlier attempts said is over."""
    progress_at: datetime | None = None
    round_at: datetime | None = None

    @property
    def known(self) -> int:
        """The highest sequence that is known to exist."""
        status = 0 if self.status is None else self.status.sequence
        return max(self.applied, status, *self.waiting)

    @property
    def has_gap(self) -> bool:
        """Whether a part of the history has to be asked for."""
        return self.known > self.applied


def with_event(view: View, event: ProjectEvent) -> tuple[View, list[TimelineEntry]]:
    """The view with one event more, and the lines that are due now: none for a duplicate or behind a gap, several when
    the event fills a gap."""
    if event.sequence <= view.applied:
        return view, []
    view = replace(view, waiting=view.waiting | {event.sequence: event})
    lines: list[TimelineEntry] = []
    while (following := view.waiting.get(view.applied + 1)) is not None:
        view = _fold(view, following)
        lines.append(entry(following))
    return view, lines


def with_state(view: View, state: State, at: datetime) -> View:
    """The view with a newer state of something. `at` is when it was written.

    A retained status replaces the one before it, in the order of arrival: its topic has one writer. Progress and rounds
    are ordered by their time. What belongs to an earlier attempt is dropped.
    """
    view = _touched(view, at)
    match state:
        case ProjectSpec():
            view = replace(view, spec=state)
        case ProjectStatus():
            view = replace(view, status=state)
        case BuilderStatus():
            view = replace(view, builder=state)
        case BuildProgress() if view.progress_at is None or view.progress_at <= at:
            view = replace(view, progress=state, progress_at=at)
        case AggregatorStatus():
            view = replace(view, aggregator=state)
        case LearnerStatus():
            view = replace(view, learners=view.learners | {state.learner: state})
        case RoundReport() if view.round_at is None or view.round_at <= at:
            view = replace(view, round=state, round_at=at)
        case _:
            pass
    return _without_earlier_attempts(view)


def _without_earlier_attempts(view: View) -> View:
    """The view without what actors said before the newest attempt began."""
    began = view.began_at
    if began is None:
        return view
    if view.progress_at is not None and view.progress_at < began:
        view = replace(view, progress=None, progress_at=None)
    if view.round_at is not None and view.round_at < began:
        view = replace(view, round=None, round_at=None)
    if view.builder is not None and view.builder.since < began:
        view = replace(view, builder=None)
    if view.aggregator is not None and view.aggregator.since < began:
        view = replace(view, aggregator=None)
    learners = {name: status for name, status in view.learners.items() if status.since >= began}
    return view if len(learners) == len(view.learners) else replace(view, learners=learners)


def _fold(view: View, event: ProjectEvent) -> View:
    """The view after the event that follows its history."""
    waiting = {sequence: kept for sequence, kept in view.waiting.items() if sequence != event.sequence}
    view = _touched(replace(view, waiting=waiting, applied=event.sequence, stage=event.stage), event.at)
    if event.attempt > view.attempt:
        view = replace(view, attempt=event.attempt, spans=(), metrics=None, began_at=event.at)
        view = _without_earlier_attempts(view)
    if event.name is EventName.ROUND_FINISHED and event.metrics is not None:
        view = replace(view, metrics=event.metrics)
    return replace(view, spans=_spans(view.spans, event))


def _spans(spans: tuple[StageSpan, ...], event: ProjectEvent) -> tuple[StageSpan, ...]:
    """Closes the open span and opens the next one, when the event belongs to another stage than the last span."""
    if spans and spans[-1].stage is event.stage:
        return spans
    if spans and spans[-1].seconds is None:
        last = spans[-1]
        seconds = max(0.0, (event.at - last.started_at).total_seconds())
        spans = (*spans[:-1], last.model_copy(update={"seconds": seconds}))
    if event.stage.ended:
        return spans
    return (*spans, StageSpan(stage=event.stage, started_at=event.at))


def _touched(view: View, at: datetime) -> View:
    return view if view.updated_at is not None and view.updated_at >= at else replace(view, updated_at=at)
