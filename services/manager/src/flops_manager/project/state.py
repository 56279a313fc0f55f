"""The state of a project: nothing but the fold of its log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from flops_protocol.errors import ErrorBody
from flops_protocol.messages.project import EventName, ImageSet, ProjectStage, Role, TrainingResult
from flops_protocol.sla import Sla

from flops_manager.project.log import Draft, Entry, Placement

NOTICES = 50
"""How many notices a project keeps: they travel in its status."""

_ORDER = tuple(ProjectStage)


@dataclass(frozen=True)
class Actor:
    """One process that is wanted for the project."""

    role: Role
    instance: str
    node: str
    placement: Placement
    ready: bool = False
    restarts: int = 0
    void_epoch: int = 0
    """What a process of this name said in this epoch or before is about an earlier life."""
    given_up: bool = False

    @property
    def condition(self) -> str:
        """The actor in one word, for people."""
        if self.given_up:
            return "given-up"
        return "ready" if self.ready else "starting" if self.restarts == 0 else "restarting"


@dataclass(frozen=True)
class ProjectState:
    """Everything that the manager knows about a project for good. Made by `fold` alone."""

    project: str
    sla: Sla
    repository_url: str
    submitted_at: datetime
    stage_since: datetime
    submit_token: str | None = None
    sequence: int = 0
    attempt: int = 1
    stage: ProjectStage = ProjectStage.ACCEPTED
    commit: str | None = None
    source_key: str | None = None
    pythons: tuple[str, ...] = ()
    gpus: bool = False
    base_image: str | None = None
    images: ImageSet | None = None
    actors: Mapping[str, Actor] = field(default_factory=dict)
    round: int = 0
    training: TrainingResult | None = None
    error: ErrorBody | None = None
    last_loss: ErrorBody | None = None
    """Why the last learner that is not started again failed, if it told."""
    outcome: ProjectStage | None = None
    paused_seconds: float = 0
    """How long the mesh was down during the stage."""
    reports: int = 0
    """How many errors were reported that did not end the attempt."""
    notices: tuple[str, ...] = ()

    @property
    def deadline(self) -> datetime | None:
        """When the stage must be over; None once the end is decided."""
        if self.stage.ended or self.outcome is not None:
            return None
        deadlines = self.sla.deadlines
        seconds = {
            ProjectStage.ACCEPTED: deadlines.resolving,
            ProjectStage.RESOLVING: deadlines.resolving,
            ProjectStage.BUILDING: deadlines.building,
            ProjectStage.DEPLOYING: deadlines.deploying,
            # Tracking is caught up after the last round; it has seconds of its own, so that training keeps all of its.
            ProjectStage.TRAINING: deadlines.training + deadlines.tracking,
        }
        return self.stage_since + timedelta(seconds=seconds[self.stage] + self.paused_seconds)

    def of(self, role: Role) -> list[Actor]:
        """The actors of one role, in the order of their placement."""
        return [actor for actor in self.actors.values() if actor.role is role]


def fold(state: ProjectState | None, entry: Entry) -> ProjectState:
    """The state after one more entry. Pure: equal logs give equal states, in every process.

    :raises ValueError: when the entry cannot follow on the state; then the log is damaged
    """
    event, details = entry.event, entry.details
    if state is None:
        if event.name is not EventName.SUBMITTED or details.submission is None:
            raise ValueError(f"the history of {event.project} begins with {event.name}")
        state = ProjectState(
            project=event.project,
            sla=details.submission.sla,
            repository_url=details.submission.repository_url,
            submitted_at=event.at,
            stage_since=event.at,
            submit_token=details.submission.submit_token,
            notices=tuple(details.submission.notices),
        )
    elif event.name is EventName.SUBMITTED:
        raise ValueError(f"{event.project} is submitted twice")
    if event.sequence != state.sequence + 1:
        raise ValueError(f"{event.project}: {event.sequence} follows on {state.sequence}")
    if event.name is EventName.RETRIED:
        state = _again(state)
    if event.attempt != state.attempt:
        raise ValueError(f"{event.project}: an event of attempt {event.attempt} in attempt {state.attempt}")
    if event.stage is not state.stage:
        state = _enter(state, entry)
    state = replace(
        state,
        sequence=event.sequence,
        commit=details.commit or state.commit,
        source_key=details.source_key or state.source_key,
        pythons=tuple(details.pythons) or state.pythons,
        gpus=details.gpus or state.gpus,
        base_image=details.base_image or state.base_image,
        images=event.images or state.images,
        training=event.training or state.training,
        outcome=details.outcome or state.outcome,
    )
    return _apply(state, entry)


def _again(state: ProjectState) -> ProjectState:
    """What is left of an ended attempt at the start of the next: what was asked for, and the commit."""
    if not state.stage.ended:
        raise ValueError(f"{state.project} is retried in {state.stage}")
    return replace(
        state,
        attempt=state.attempt + 1,
        source_key=None,
        pythons=(),
        gpus=False,
        base_image=None,
        images=None,
        actors={},
        round=0,
        training=None,
        error=None,
        last_loss=None,
        outcome=None,
        reports=0,
    )


def _enter(state: ProjectState, entry: Entry) -> ProjectState:
    stage = entry.event.stage
    backwards = _ORDER.index(stage) < _ORDER.index(state.stage)
    if backwards and entry.event.name is not EventName.RETRIED:
        raise ValueError(f"{state.project} goes from {state.stage} back to {stage}")
    if stage.ended and state.actors:
        raise ValueError(f"{state.project} ends while {', '.join(state.actors)} is still there")
    return replace(state, stage=stage, stage_since=entry.event.at, paused_seconds=0)


def _apply(state: ProjectState, entry: Entry) -> ProjectState:
    event, details = entry.event, entry.details
    match event.name:
        case EventName.ACTOR_PLACED if event.role and event.instance and event.node and details.placement:
            actor = Actor(event.role, event.instance, event.node, details.placement)
            return replace(state, actors={**state.actors, actor.instance: actor})
        case EventName.ACTOR_READY | EventName.ACTOR_LOST if event.instance and event.instance in state.actors:
            actor = state.actors[event.instance]
            if event.name is EventName.ACTOR_READY:
                actor = replace(actor, ready=True)
            else:
                actor = replace(
                    actor,
                    ready=False,
                    restarts=actor.restarts + (not details.given_up),
                    void_epoch=max(actor.void_epoch, details.void_epoch or 0),
                    given_up=details.given_up,
                )
            actors = {**state.actors, actor.instance: actor}
            return replace(state, actors=actors, last_loss=event.error or state.last_loss)
        case EventName.ACTOR_REMOVED:
            return replace(state, actors={name: a for name, a in state.actors.items() if name != event.instance})
        case EventName.ROUND_FINISHED if details.round:
            return replace(state, round=details.round)
        case EventName.ERROR_REPORTED:
            if details.outcome is not None:
                return replace(state, error=event.error)
            return replace(state, reports=state.reports + 1)
        case EventName.NOTICE:
            paused = state.paused_seconds + details.paused_seconds
            return replace(state, notices=(*state.notices, event.text)[-NOTICES:], paused_seconds=paused)
    return state


def append(
    state: ProjectState | None, drafts: Sequence[Draft], when: datetime, *, project: str | None = None
) -> tuple[ProjectState | None, list[Entry]]:
    """Gives drafts their places in the history, and folds them. `project` names one that is not there yet."""
    entries: list[Entry] = []
    for draft in drafts:
        if state is None:
            entry = draft.at(project or "", 1, when, ProjectStage.ACCEPTED, 1)
        else:
            attempt = state.attempt + (draft.name is EventName.RETRIED)
            entry = draft.at(state.project, state.sequence + 1, when, state.stage, attempt)
        state = fold(state, entry)
        entries.append(entry)
    return state, entries
