"""The summary: where a project stands, made from a view of it. Pure functions only."""

from __future__ import annotations

from flops_protocol.messages.actors import AggregatorState, LearnerState
from flops_protocol.messages.observer import StageSpan, Summary
from flops_protocol.messages.project import ProjectStage, RoundMetrics, TrainingResult

from flops_observer.projection import View

SHARES: dict[ProjectStage, tuple[float, float]] = {
    ProjectStage.ACCEPTED: (0, 2),
    ProjectStage.RESOLVING: (2, 5),
    ProjectStage.BUILDING: (5, 60),
    ProjectStage.DEPLOYING: (60, 70),
    ProjectStage.TRAINING: (70, 95),
    ProjectStage.PACKAGING: (95, 98),
    ProjectStage.SERVING: (98, 100),
}
"""From which percent to which a stage goes."""

_JOINED = {LearnerState.JOINED, LearnerState.TRAINING, LearnerState.DONE}


def summarise(view: View) -> Summary | None:
    """The summary of a view; None while nothing is known but that the project exists."""
    if view.updated_at is None:
        return None
    stage = _stage(view)
    training = None if view.status is None else view.status.training
    return Summary(
        project=view.project,
        stage=stage,
        percent=_percent(view, stage),
        text=_text(view, stage),
        stages=_stages(view, stage),
        build_percent=None if view.progress is None else view.progress.percent,
        build_phase=None if view.progress is None else view.progress.phase.value,
        estimate_seconds=_estimate(view, stage),
        round=_round(view),
        rounds=_rounds(view),
        metrics=_last_metrics(view, training),
        best=training.best if training is not None else None if view.aggregator is None else view.aggregator.best,
        learners={name: status.state.value for name, status in sorted(view.learners.items())},
        links=_links(view, training),
        error=None if view.status is None else view.status.error,
        updated_at=view.updated_at,
    )


def _stage(view: View) -> ProjectStage:
    """The stage by whichever knows more of the history: the events, or the manager's retained status."""
    if view.status is not None and view.status.sequence >= view.applied:
        return view.status.stage
    return view.stage


def _stages(view: View, stage: ProjectStage) -> list[StageSpan]:
    """The spans of the history; the current stage too where the history is not complete yet."""
    spans = list(view.spans)
    if view.status is not None and not stage.ended and stage not in {span.stage for span in spans}:
        spans.append(StageSpan(stage=stage, started_at=view.status.stage_since))
    return spans


def _round(view: View) -> int:
    rounds = [0]
    if view.round is not None:
        rounds.append(view.round.round)
    if view.metrics is not None:
        rounds.append(view.metrics.round)
    if view.aggregator is not None:
        rounds.append(view.aggregator.round)
    return max(rounds)


def _rounds(view: View) -> int:
    if view.aggregator is not None and view.aggregator.rounds:
        return view.aggregator.rounds
    if view.round is not None:
        return view.round.rounds
    if view.spec is None:
        return 0
    training = view.spec.sla.training_configuration
    return training.training_rounds * training.training_cycles


def _last_metrics(view: View, training: TrainingResult | None) -> RoundMetrics | None:
    heard = [metrics for metrics in (view.metrics, None if view.round is None else view.round.metrics) if metrics]
    if training is not None:
        heard.append(training.last)
    return max(heard, key=lambda metrics: metrics.round, default=None)


def _percent(view: View, stage: ProjectStage) -> float:
    """How much of the way is done; at a bad end, where the project was when it ended."""
    if stage is ProjectStage.COMPLETED:
        return 100.0
    if stage.ended:
        reached = [span.stage for span in view.spans]
        stage = reached[-1] if reached else ProjectStage.ACCEPTED
    start, end = SHARES[stage]
    return round(start + (end - start) * _fraction(view, stage), 1)


def _fraction(view: View, stage: ProjectStage) -> float:
    """How much of a stage is done, 0 to 1."""
    if stage is ProjectStage.BUILDING and view.progress is not None:
        return view.progress.percent / 100
    if stage is ProjectStage.DEPLOYING and view.learners:
        return sum(status.state in _JOINED for status in view.learners.values()) / len(view.learners)
    if stage is ProjectStage.TRAINING and _rounds(view):
        return min(1.0, _round(view) / _rounds(view))
    return 0.0


def _estimate(view: View, stage: ProjectStage) -> float | None:
    """Seconds that the current stage still takes, where that can be known."""
    if stage is ProjectStage.BUILDING and view.progress is not None:
        return view.progress.estimate_seconds
    if stage is ProjectStage.TRAINING and view.round is not None and not _tracking(view):
        return max(0, view.round.rounds - view.round.round) * view.round.seconds
    return None


def _tracking(view: View) -> bool:
    return view.aggregator is not None and view.aggregator.state is AggregatorState.TRACKING


def _text(view: View, stage: ProjectStage) -> str:
    match stage:
        case ProjectStage.BUILDING if view.progress is not None:
            detail = f": {view.progress.detail}" if view.progress.detail else ""
            return f"Building the images, {view.progress.phase.value}{detail}"
        case ProjectStage.DEPLOYING if view.learners:
            joined = sum(status.state in _JOINED for status in view.learners.values())
            return f"{joined} of {len(view.learners)} learners have joined"
        case ProjectStage.TRAINING if _tracking(view):
            return "All rounds are done; metrics and model go to MLflow"
        case ProjectStage.TRAINING if _round(view):
            metrics = _last_metrics(view, None)
            accuracy = "" if metrics is None else f", accuracy {metrics.accuracy:.3f}"
            return f"Round {_round(view)} of {_rounds(view)} is done{accuracy}"
        case ProjectStage.COMPLETED if view.status is not None and view.status.training is not None:
            best = view.status.training.best
            return f"Completed: best accuracy {best.accuracy:.3f} in round {best.round}"
        case ProjectStage.FAILED if view.status is not None and view.status.error is not None:
            return f"Failed: {view.status.error.code} {view.status.error.title}"
        case _:
            return _SENTENCES[stage]


_SENTENCES = {
    ProjectStage.ACCEPTED: "Accepted",
    ProjectStage.RESOLVING: "Looking for an image that fits",
    ProjectStage.BUILDING: "Starting a builder",
    ProjectStage.DEPLOYING: "Placing aggregator and learners",
    ProjectStage.TRAINING: "Training",
    ProjectStage.PACKAGING: "Building the inference image",
    ProjectStage.SERVING: "Starting the inference server",
    ProjectStage.COMPLETED: "Completed",
    ProjectStage.FAILED: "Failed",
    ProjectStage.CANCELLED: "Cancelled",
}


def _links(view: View, training: TrainingResult | None) -> dict[str, str]:
    links: dict[str, str] = {}
    uri = None if view.spec is None else view.spec.tracking_uri
    if uri is not None and uri.startswith(("http://", "https://")):
        links["mlflow"] = uri
        if training is not None and training.experiment_id and training.mlflow_run:
            links["mlflow_run"] = f"{uri.rstrip('/')}/#/experiments/{training.experiment_id}/runs/{training.mlflow_run}"
    if training is not None and training.model_uri:
        links["model"] = training.model_uri
    if view.spec is not None:
        links["repository"] = view.spec.repository_url
    return links
