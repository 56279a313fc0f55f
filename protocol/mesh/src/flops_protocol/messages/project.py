"""What the manager says about a project: what was asked for, how it stands, what happened, what it wants."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime, Field

from flops_protocol.errors import ErrorBody
from flops_protocol.identifiers import CommitId, Digest, InstanceName, NodeName, ProjectId
from flops_protocol.messages._base import Message
from flops_protocol.sla import Platform, Sla


class ProjectStage(StrEnum):
    """Where a project stands; a stage is entered at most once an attempt and never left backwards."""

    ACCEPTED = "accepted"
    RESOLVING = "resolving"
    BUILDING = "building"
    DEPLOYING = "deploying"
    TRAINING = "training"
    PACKAGING = "packaging"
    SERVING = "serving"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing of the project runs any more."""
        return self in {ProjectStage.COMPLETED, ProjectStage.FAILED, ProjectStage.CANCELLED}


class Role(StrEnum):
    """What a process is to a project."""

    BUILDER = "builder"
    AGGREGATOR = "aggregator"
    LEARNER = "learner"


class ImageReference(Message):
    """An image by digest. `registry` is `oci:/absolute/path` for a layout folder, `http(s)://host` for a registry."""

    registry: str
    repository: str
    digest: Digest
    platforms: list[Platform]


class ImageSet(Message):
    """The images of one project, found or built, under the key that stands for all their inputs."""

    image_key: Digest
    learner: ImageReference
    aggregator: ImageReference
    python: str = Field(pattern=r"^3\.[0-9]+$")
    lock_digest: Digest
    lookup: Literal["found", "built"]


class ProjectSpec(Message):
    """What was asked for, with the ref resolved: everything that later steps need and that never changes.

    `repository_url` is the place to clone from; `commit` is the one commit that every step uses.
    """

    project: ProjectId
    sla: Sla
    repository_url: str
    commit: CommitId
    submitted_at: AwareDatetime
    submit_token: str | None = None
    tracking_uri: str | None = None
    """MLflow's server. None: metrics stay in the aggregator's rounds and in the results only."""


class RoundMetrics(Message):
    """The metrics of one round, over all learners, weighted by their samples."""

    round: int = Field(ge=0)
    loss: float
    accuracy: float
    more: dict[str, float] = Field(default={})


class TrainingResult(Message):
    """What a training brought: the best round with *its* metrics, and where its model was logged."""

    rounds: int = Field(ge=0)
    best: RoundMetrics
    last: RoundMetrics
    experiment: str | None = None
    experiment_id: str | None = None
    """MLflow's own number of the experiment, of which its addresses are made."""
    mlflow_run: str | None = None
    model_uri: str | None = None
    tracked: bool
    """False while MLflow has not taken everything; the rest is kept and logged when it is back."""


class ActorRecord(Message):
    """One process of the project as the manager sees it."""

    role: Role
    instance: InstanceName
    node: NodeName
    state: str
    restarts: int = 0


class ProjectStatus(Message):
    """How a project stands. Retained. `sequence` is that of the last event in the project's history."""

    project: ProjectId
    stage: ProjectStage
    stage_since: AwareDatetime
    submitted_at: AwareDatetime
    deadline: AwareDatetime | None = None
    attempt: int = Field(default=1, ge=1)
    sequence: int = Field(ge=0)
    repository_url: str
    commit: CommitId | None = None
    images: ImageSet | None = None
    actors: list[ActorRecord] = Field(default=[])
    training: TrainingResult | None = None
    error: ErrorBody | None = None
    notices: list[str] = Field(default=[])


class EventName(StrEnum):
    """What can happen in a project's life."""

    SUBMITTED = "submitted"
    STAGE_ENTERED = "stage-entered"
    IMAGE_FOUND = "image-found"
    IMAGE_MISSED = "image-missed"
    BUILD_FINISHED = "build-finished"
    ACTOR_PLACED = "actor-placed"
    ACTOR_READY = "actor-ready"
    ACTOR_LOST = "actor-lost"
    ACTOR_REMOVED = "actor-removed"
    ROUND_FINISHED = "round-finished"
    TRAINING_FINISHED = "training-finished"
    CANCEL_REQUESTED = "cancel-requested"
    RETRIED = "retried"
    ERROR_REPORTED = "error-reported"
    NOTICE = "notice"


class ProjectEvent(Message):
    """One entry of a project's history. `sequence` counts from 1 without gaps, over all attempts and restarts."""

    project: ProjectId
    sequence: int = Field(ge=1)
    name: EventName
    at: AwareDatetime
    stage: ProjectStage
    attempt: int = Field(default=1, ge=1)
    text: str
    """One readable sentence."""
    role: Role | None = None
    instance: InstanceName | None = None
    node: NodeName | None = None
    images: ImageSet | None = None
    metrics: RoundMetrics | None = None
    training: TrainingResult | None = None
    error: ErrorBody | None = None


class ErrorReport(Message):
    """A failure, told by the process that saw it first. `fatal`: the project cannot go on."""

    project: ProjectId
    instance: InstanceName
    stage: ProjectStage
    fatal: bool
    error: ErrorBody
    log_tail: list[str] = Field(default=[], max_length=50)


class ProjectCompleted(Message):
    """The end of a project, in whichever way."""

    project: ProjectId
    stage: ProjectStage
    seconds: float = Field(ge=0)
    training: TrainingResult | None = None
    images: ImageSet | None = None
    error: ErrorBody | None = None
