"""What the event log holds: the public event of a project's history, and what only the manager needs to know of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from flops_protocol.errors import ErrorBody
from flops_protocol.identifiers import CommitId, Digest, InstanceName, NodeName
from flops_protocol.messages.project import (
    EventName,
    ImageSet,
    ProjectEvent,
    ProjectStage,
    Role,
    RoundMetrics,
    TrainingResult,
)
from flops_protocol.sla import Sla
from pydantic import AwareDatetime, BaseModel, ConfigDict


class _Stored(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Submission(_Stored):
    """What came in with the submit request."""

    sla: Sla
    repository_url: str
    submit_token: str | None = None
    notices: list[str] = []


class Placement(_Stored):
    """What was decided about one actor when it was placed: its command, and which part of the node's rows it reads."""

    command: str
    part: int = 0
    parts: int = 1


class Details(_Stored):
    """What an event means to the manager beyond what it tells the world. Each event sets the few that belong to it."""

    submission: Submission | None = None
    commit: CommitId | None = None
    source_key: Digest | None = None
    pythons: list[str] = []
    """The Python minors that the source key stands for."""
    gpus: bool = False
    """Whether the learners' nodes have GPUs, as the source key says."""
    base_image: str | None = None
    """The base image that the source key stands for, by digest."""
    placement: Placement | None = None
    void_epoch: int | None = None
    """On a lost actor: what its process said up to this epoch counts no more."""
    round: int | None = None
    given_up: bool = False
    """On a lost actor: it is not started again."""
    paused_seconds: float = 0
    """On a notice: the mesh was down so long; the time does not count against the stage's deadline."""
    outcome: ProjectStage | None = None
    """How the project will end, as soon as everything that runs for it is removed."""


class Entry(_Stored):
    """One entry of the log."""

    event: ProjectEvent
    details: Details = Details()


@dataclass(frozen=True)
class Draft:
    """An event that is about to happen: everything but its place in the history."""

    name: EventName
    text: str
    stage: ProjectStage | None = None
    """The stage that it enters; None: the project stays where it is."""
    role: Role | None = None
    instance: InstanceName | None = None
    node: NodeName | None = None
    images: ImageSet | None = None
    metrics: RoundMetrics | None = None
    training: TrainingResult | None = None
    error: ErrorBody | None = None
    details: Details = field(default_factory=Details)

    def at(self, project: str, sequence: int, when: AwareDatetime, stage: ProjectStage, attempt: int) -> Entry:
        """The entry that this becomes at one place of the history."""
        event = ProjectEvent(
            project=project,
            sequence=sequence,
            name=self.name,
            at=when,
            stage=self.stage or stage,
            attempt=attempt,
            text=self.text,
            role=self.role,
            instance=self.instance,
            node=self.node,
            images=self.images,
            metrics=self.metrics,
            training=self.training,
            error=self.error,
        )
        return Entry(event=event, details=self.details)
