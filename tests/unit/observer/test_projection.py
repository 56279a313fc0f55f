"""The projection depends on the set of events alone, however they arrive."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from flops_observer.projection import View, with_event, with_state
from flops_observer.summary import SHARES, summarise
from flops_observer.timeline import entry
from flops_protocol.errors import FlopsError
from flops_protocol.messages.actors import BuildPhase, BuildProgress, LearnerState, LearnerStatus, RoundReport
from flops_protocol.messages.observer import TimelineEntry
from flops_protocol.messages.project import EventName, ProjectEvent, ProjectStage, ProjectStatus, Role, RoundMetrics
from hypothesis import given
from hypothesis import strategies as st

START = datetime(2025, 1, 1, tzinfo=UTC)
WAY = [
    ProjectStage.ACCEPTED,
    ProjectStage.RESOLVING,
    ProjectStage.BUILDING,
    ProjectStage.DEPLOYING,
    ProjectStage.TRAINING,
]


def event(sequence: int, name: EventName, stage: ProjectStage, **more: object) -> ProjectEvent:
    return ProjectEvent.model_validate(
        {
            "project": "p-1",
            "sequence": sequence,
            "name": name,
            "at": START + timedelta(seconds=sequence),
            "stage": stage,
            "text": f"event {sequence}",
            **more,
        }
    )


@st.composite
def histories(draw: st.DrawFn) -> list[ProjectEvent]:
    """A history as the manager writes it: stages in order, perhaps an end, perhaps another attempt."""
    events: list[ProjectEvent] = []
    for attempt in range(1, draw(st.integers(1, 2)) + 1):
        for stage in WAY[: draw(st.integers(1, len(WAY)))]:
            events.append(event(len(events) + 1, EventName.STAGE_ENTERED, stage, attempt=attempt))
            events += [
                event(len(events) + 1 + extra, EventName.NOTICE, stage, attempt=attempt)
                for extra in range(draw(st.integers(0, 3)))
            ]
        end = draw(st.sampled_from([ProjectStage.COMPLETED, ProjectStage.FAILED, ProjectStage.CANCELLED]))
        events.append(event(len(events) + 1, EventName.STAGE_ENTERED, end, attempt=attempt))
    return events


def fold(events: list[ProjectEvent]) -> tuple[View, list[TimelineEntry]]:
    view, lines = View("p-1"), []
    for item in events:
        view, due = with_event(view, item)
        lines += due
    return view, lines


@given(history=histories(), data=st.data())
def test_with_event_duplicated_and_reordered(history: list[ProjectEvent], data: st.DataObject) -> None:
    noisy = data.draw(st.permutations(history + data.draw(st.lists(st.sampled_from(history)))))
    view, lines = fold(noisy)
    assert view == fold(history)[0]
    assert lines == [entry(item) for item in history]


@given(history=histories(), data=st.data())
def test_with_event_dropped_and_refilled(history: list[ProjectEvent], data: st.DataObject) -> None:
    arrived = data.draw(st.lists(st.sampled_from(history)))
    view, lines = fold(arrived)
    assert view.applied == len(lines)
    assert [line.position for line in lines] == list(range(1, view.applied + 1))
    assert view.has_gap == (max((item.sequence for item in arrived), default=0) > view.applied)
    for item in history[view.applied :]:
        view, due = with_event(view, item)
        lines += due
    assert (view, lines) == fold(history)
    assert not view.has_gap


@given(history=histories())
def test_spans_follow_the_newest_attempt(history: list[ProjectEvent]) -> None:
    view, _ = fold(history)
    newest = [item for item in history if item.attempt == history[-1].attempt]
    assert [span.stage for span in view.spans] == list(dict.fromkeys(i.stage for i in newest if not i.stage.ended))
    assert all(span.seconds is not None for span in view.spans)
    assert sum(span.seconds or 0 for span in view.spans) == (newest[-1].at - newest[0].at).total_seconds()


@given(history=histories(), percents=st.lists(st.floats(0, 100), max_size=5).map(sorted))
def test_percent_never_falls_within_an_attempt(history: list[ProjectEvent], percents: list[float]) -> None:
    view, last, attempt = View("p-1"), 0.0, 0
    for item in history:
        view, _ = with_event(view, item)
        steps = [view]
        if item.stage is ProjectStage.BUILDING and item.name is EventName.STAGE_ENTERED:
            for percent in percents:
                progress = BuildProgress(project="p-1", phase=BuildPhase.RESOLVE, percent=percent)
                steps.append(with_state(steps[-1], progress, item.at))
            view = steps[-1]
        for step in steps:
            summary = summarise(step)
            assert summary is not None
            if step.attempt > attempt:
                attempt, last = step.attempt, 0.0
            assert summary.percent >= last
            last = summary.percent


def test_shares_cover_the_whole_way() -> None:
    shares = list(SHARES.values())
    assert shares[0][0] == 0
    assert shares[-1][1] == 100
    assert all(left[1] == right[0] for left, right in pairwise(shares))


def test_status_ahead_of_the_history_shows_the_present() -> None:
    status = ProjectStatus(
        project="p-1",
        stage=ProjectStage.TRAINING,
        stage_since=START,
        submitted_at=START,
        sequence=9,
        repository_url="https://example.org/r.git",
    )
    view = with_state(View("p-1"), status, START)
    assert view.has_gap
    summary = summarise(view)
    assert summary is not None
    assert summary.stage is ProjectStage.TRAINING
    assert [span.stage for span in summary.stages] == [ProjectStage.TRAINING]


def test_what_an_earlier_attempt_said_is_dropped() -> None:
    view, _ = fold([event(1, EventName.STAGE_ENTERED, ProjectStage.TRAINING)])
    learner = LearnerStatus(project="p-1", learner="n-1", node="n", state=LearnerState.LOST, since=START)
    view = with_state(view, learner, START)
    view = with_state(view, report(2), START)
    assert summarise(view).learners == {"n-1": "lost"}  # type: ignore[union-attr]
    view, _ = with_event(view, event(2, EventName.RETRIED, ProjectStage.ACCEPTED, attempt=2))
    summary = summarise(with_state(view, learner, START))
    assert summary is not None
    assert (summary.learners, summary.round) == ({}, 0)


def test_training_shows_round_metrics_and_estimate() -> None:
    view, _ = fold([event(1, EventName.STAGE_ENTERED, ProjectStage.TRAINING)])
    summary = summarise(with_state(view, report(2), START + timedelta(seconds=9)))
    assert summary is not None
    assert (summary.round, summary.rounds, summary.estimate_seconds) == (2, 4, 3.0)
    assert summary.metrics == RoundMetrics(round=2, loss=0.5, accuracy=0.0)
    assert "accuracy 0.000" in summary.text
    assert summary.percent == 82.5


def test_entry_levels_and_steps() -> None:
    lost = FlopsError("FLOPS-T012", "node-1-1 is gone").body
    wrong = FlopsError("FLOPS-B011", "line 3", file="model_manager.py", line=3).body
    cases = [
        (event(1, EventName.STAGE_ENTERED, ProjectStage.BUILDING), 2, "info"),
        (event(2, EventName.ACTOR_READY, ProjectStage.BUILDING, role=Role.BUILDER), 3, "info"),
        (event(3, EventName.ERROR_REPORTED, ProjectStage.TRAINING, error=lost), 5, "warning"),
        (event(4, EventName.ERROR_REPORTED, ProjectStage.BUILDING, error=wrong), 3, "error"),
        (event(5, EventName.STAGE_ENTERED, ProjectStage.FAILED), 0, "error"),
        (event(6, EventName.RETRIED, ProjectStage.ACCEPTED), 1, "notice"),
    ]
    for item, step, level in cases:
        line = entry(item)
        assert (line.position, line.step, line.level) == (item.sequence, step, level)
    assert entry(cases[3][0]).text == "event 4 (FLOPS-B011)"


def report(number: int) -> RoundReport:
    return RoundReport(
        project="p-1",
        round=number,
        rounds=4,
        metrics=RoundMetrics(round=number, loss=0.5, accuracy=0.0),
        trained=["n-1"],
        evaluated=["n-1"],
        samples=10,
        best=True,
        seconds=1.5,
    )
