"""What builder, aggregator and learners say of themselves."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime, Field

from flops_protocol.errors import ErrorBody
from flops_protocol.identifiers import InstanceName, NodeName, ProjectId
from flops_protocol.messages._base import Message
from flops_protocol.messages.project import ImageSet, RoundMetrics, TrainingResult


class BuilderState(StrEnum):
    """A builder's way: started, told what to build, done."""

    READY = "ready"
    BUILDING = "building"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    LOST = "lost"


class BuilderStatus(Message):
    """How the builder stands. Retained; its last will says `lost`."""

    project: ProjectId
    instance: InstanceName
    state: BuilderState
    command: str | None = None
    since: AwareDatetime
    images: ImageSet | None = None
    repairs: list[str] = Field(default=[])
    warnings: list[str] = Field(default=[])
    error: ErrorBody | None = None


class BuildPhase(StrEnum):
    """The builder's steps, in their order."""

    CLONE = "clone"
    CHECK = "check"
    RESOLVE = "resolve"
    INSTALL = "install"
    SMOKE = "smoke"
    LAYERS = "layers"
    PUSH = "push"


class BuildProgress(Message):
    """How far a build is. `percent` is of the whole build and never falls; the estimate is of what is left."""

    project: ProjectId
    phase: BuildPhase
    percent: float = Field(ge=0, le=100)
    detail: str = ""
    bytes_done: int | None = Field(default=None, ge=0)
    bytes_total: int | None = Field(default=None, ge=0)
    estimate_seconds: float | None = Field(default=None, ge=0)


class BuildCompleted(Message):
    """A build that succeeded, with what it took."""

    project: ProjectId
    images: ImageSet
    seconds: float = Field(ge=0)
    phase_seconds: dict[str, float]
    bytes_pushed: int = Field(ge=0)
    repairs: list[str] = Field(default=[])
    warnings: list[str] = Field(default=[])


class LogLines(Message):
    """Lines that a process of the project wrote, at most 100 at a time."""

    project: ProjectId
    instance: InstanceName
    stream: Literal["mesh", "code"]
    """`mesh`: our own log; `code`: what the user's code or an installer printed."""
    at: AwareDatetime
    lines: list[str] = Field(max_length=100)


class AggregatorState(StrEnum):
    """An aggregator's way."""

    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting"
    TRAINING = "training"
    TRACKING = "tracking"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    LOST = "lost"


class Endpoint(Message):
    """Where learners open their parameter stream. `certificate` is PEM, absent on a plain connection."""

    host: str
    port: int = Field(ge=1, le=65535)
    certificate: str | None = None


class AggregatorStatus(Message):
    """How the aggregator stands. Retained; its last will says `lost`."""

    project: ProjectId
    instance: InstanceName
    state: AggregatorState
    command: str | None = None
    since: AwareDatetime
    endpoint: Endpoint | None = None
    round: int = Field(default=0, ge=0)
    rounds: int = Field(default=0, ge=0)
    joined: list[InstanceName] = Field(default=[])
    best: RoundMetrics | None = None
    training: TrainingResult | None = None
    error: ErrorBody | None = None


class LearnerFailure(Message):
    """A learner that did not answer in a round, and why."""

    learner: InstanceName
    error: ErrorBody


class RoundReport(Message):
    """One finished round. Seconds are wall-clock time at the aggregator."""

    project: ProjectId
    round: int = Field(ge=1)
    rounds: int = Field(ge=1)
    metrics: RoundMetrics | None = None
    trained: list[InstanceName]
    evaluated: list[InstanceName]
    samples: int = Field(ge=0)
    failures: list[LearnerFailure] = Field(default=[])
    best: bool
    seconds: float = Field(ge=0)


class TrainingCompleted(Message):
    """Training completion, with the best metrics and the MLflow run."""

    project: ProjectId
    training: TrainingResult
    seconds: float = Field(ge=0)


class LearnerState(StrEnum):
    """A learner's way."""

    STARTING = "starting"
    READY = "ready"
    LOADING_DATA = "loading-data"
    JOINED = "joined"
    TRAINING = "training"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    LOST = "lost"


class LearnerStatus(Message):
    """How a learner stands. Retained; its last will says `lost`. `rows` is a count, never a row."""

    project: ProjectId
    learner: InstanceName
    node: NodeName
    state: LearnerState
    command: str | None = None
    since: AwareDatetime
    round: int = Field(default=0, ge=0)
    rows: int | None = Field(default=None, ge=0)
    error: ErrorBody | None = None
