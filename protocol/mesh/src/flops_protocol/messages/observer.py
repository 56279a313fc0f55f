"""What the observer tells people."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, Field

from flops_protocol.errors import ErrorBody
from flops_protocol.identifiers import ProjectId
from flops_protocol.messages._base import Message
from flops_protocol.messages.project import ProjectStage, RoundMetrics


class TimelineEntry(Message):
    """One readable line a step. `step` is FLOps's number of the stage (1 to 7; 0 at the end)."""

    project: ProjectId
    position: int = Field(ge=1)
    step: int = Field(ge=0, le=7)
    stage: ProjectStage
    level: Literal["info", "notice", "warning", "error"]
    text: str
    at: AwareDatetime


class StageSpan(Message):
    """How long a stage took, or has taken so far."""

    stage: ProjectStage
    started_at: AwareDatetime
    seconds: float | None = Field(default=None, ge=0)


class Summary(Message):
    """Where a project stands, for people. Retained."""

    project: ProjectId
    stage: ProjectStage
    percent: float = Field(ge=0, le=100)
    text: str
    stages: list[StageSpan]
    build_percent: float | None = Field(default=None, ge=0, le=100)
    build_phase: str | None = None
    estimate_seconds: float | None = Field(default=None, ge=0)
    round: int = Field(default=0, ge=0)
    rounds: int = Field(default=0, ge=0)
    metrics: RoundMetrics | None = None
    best: RoundMetrics | None = None
    learners: dict[str, str] = Field(default={})
    """Learner states by name."""
    links: dict[str, str] = Field(default={})
    error: ErrorBody | None = None
    updated_at: AwareDatetime
