"""Requests of clients, and their replies (MQTT 5 request/response: response topic and correlation data)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AwareDatetime, Field

from flops_protocol.errors import ErrorBody
from flops_protocol.identifiers import CommitId, Digest, InstanceName, NodeName, ProjectId
from flops_protocol.messages._base import Message
from flops_protocol.messages.actors import LogLines
from flops_protocol.messages.observer import TimelineEntry
from flops_protocol.messages.plans import BuildForecast
from flops_protocol.messages.project import ProjectEvent, ProjectSpec, ProjectStage, ProjectStatus, Role


class SubmitRequest(Message):
    """Start a project. `sla` is the document's text as it was written: the manager reads it, and says what is wrong."""

    sla: str
    token: str | None = Field(default=None, min_length=1, max_length=200)
    """The same token with the same SLA gives the same project, however often it is sent."""


class PlanRequest(Message):
    """What would happen on submit; nothing is started."""

    sla: str


class ListRequest(Message):
    """Projects, newest first."""

    stages: list[ProjectStage] = Field(default=[])
    limit: int = Field(default=100, ge=1, le=200)
    before: ProjectId | None = None


class ShowRequest(Message):
    """All that is known about one project."""

    project: ProjectId


class CancelRequest(Message):
    """Stop a project and remove what runs for it."""

    project: ProjectId
    reason: str = ""


class RetryRequest(Message):
    """Start a failed or cancelled project again, with the same commit."""

    project: ProjectId


class ReplayRequest(Message):
    """The history of a project after `after` (a sequence), a page at a time."""

    project: ProjectId
    after: int = Field(default=0, ge=0)
    limit: int = Field(default=100, ge=1, le=200)


class HistoryRequest(Message):
    """The timeline of a project from the observer's own store, a page at a time. `after` is a position there."""

    project: ProjectId
    after: int = Field(default=0, ge=0)
    limit: int = Field(default=100, ge=1, le=200)


class LogsRequest(Message):
    """Log lines of a project from the observer's own store, a page at a time."""

    project: ProjectId
    role: Role | None = None
    instance: InstanceName | None = None
    after: int = Field(default=0, ge=0)
    limit: int = Field(default=50, ge=1, le=100)


class SlaMistake(Message):
    """One mistake in an SLA: where (JSON path), what was found, what is allowed."""

    path: str
    found: str
    allowed: str


class NodeVerdict(Message):
    """Why a node was taken or refused for a role."""

    node: NodeName
    role: Role
    taken: bool
    reason: str
    count: int = Field(default=0, ge=0)
    """How many actors of the role the node takes."""


class PlanReport(Message):
    """What would happen on submit."""

    repository_url: str
    commit: CommitId
    source_key: Digest
    image: Literal["found", "to-build"]
    image_key: Digest | None = None
    missed: str | None = None
    """On a miss: which input differs from the image that comes closest, or that there is none."""
    placement: list[NodeVerdict]
    stages: list[ProjectStage]
    deadlines: dict[str, float]
    notices: list[str] = Field(default=[])
    errors: list[ErrorBody] = Field(default=[])
    """Everything that the project would fail with, as far as it is known; what a build would fail with, too."""
    build: BuildForecast | None = None
    """What the build would do; None where nothing is to be built, or no builder could say."""
    seconds: dict[str, float] = Field(default={})
    """What each stage will take, by stage, as far as earlier ones tell."""


class ProjectSummary(Message):
    """One line of a list of projects."""

    project: ProjectId
    stage: ProjectStage
    repository_url: str
    submitted_at: AwareDatetime
    stage_since: AwareDatetime
    accuracy: float | None = None
    error: str | None = None


class Reply(Message):
    """The answer to a request: `error` (with `mistakes` for an SLA), or the one field that belongs to the verb."""

    verb: str
    error: ErrorBody | None = None
    mistakes: list[SlaMistake] = Field(default=[])
    project: ProjectId | None = None
    created: bool | None = None
    """submit: False when the token had been used for the same SLA before."""
    notices: list[str] = Field(default=[])
    plan: PlanReport | None = None
    projects: list[ProjectSummary] | None = None
    spec: ProjectSpec | None = None
    status: ProjectStatus | None = None
    events: list[ProjectEvent] | None = None
    timeline: list[TimelineEntry] | None = None
    logs: list[LogLines] | None = None
    next: int | None = None
    """Give it as `after` to get the next page; None at the end."""
    details: dict[str, Any] | None = None
