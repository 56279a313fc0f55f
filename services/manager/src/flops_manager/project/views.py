"""What the state of a project looks like from outside. Pure."""

from __future__ import annotations

from datetime import datetime

from flops_protocol.messages.project import (
    ActorRecord,
    ProjectCompleted,
    ProjectSpec,
    ProjectStage,
    ProjectStatus,
)
from flops_protocol.messages.requests import ProjectSummary

from flops_manager.project.state import ProjectState


def status(state: ProjectState) -> ProjectStatus:
    """How the project stands."""
    return ProjectStatus(
        project=state.project,
        stage=state.stage,
        stage_since=state.stage_since,
        submitted_at=state.submitted_at,
        deadline=state.deadline,
        attempt=state.attempt,
        sequence=state.sequence,
        repository_url=state.repository_url,
        commit=state.commit,
        images=state.images,
        actors=[
            ActorRecord(
                role=actor.role,
                instance=actor.instance,
                node=actor.node,
                state=actor.condition,
                restarts=actor.restarts,
            )
            for actor in state.actors.values()
        ],
        training=state.training,
        error=state.error,
        notices=list(state.notices),
    )


def spec(state: ProjectState, tracking_uri: str | None) -> ProjectSpec | None:
    """What was asked for; None until the ref is resolved."""
    if state.commit is None:
        return None
    return ProjectSpec(
        project=state.project,
        sla=state.sla,
        repository_url=state.repository_url,
        commit=state.commit,
        submitted_at=state.submitted_at,
        submit_token=state.submit_token,
        tracking_uri=tracking_uri,
    )


def completed(state: ProjectState, now: datetime) -> ProjectCompleted:
    """The end of the project."""
    return ProjectCompleted(
        project=state.project,
        stage=state.stage,
        seconds=max(0.0, (now - state.submitted_at).total_seconds()),
        training=state.training,
        images=state.images,
        error=state.error if state.stage is ProjectStage.FAILED else None,
    )


def summary(status: ProjectStatus) -> ProjectSummary:
    """One line of a list."""
    return ProjectSummary(
        project=status.project,
        stage=status.stage,
        repository_url=status.repository_url,
        submitted_at=status.submitted_at,
        stage_since=status.stage_since,
        accuracy=status.training.best.accuracy if status.training else None,
        error=f"{status.error.code} {status.error.title}" if status.error else None,
    )
