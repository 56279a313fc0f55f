"""What manager and builder say to each other about a plan: a build that is thought through, and not done."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, Field

from flops_protocol.errors import ErrorBody
from flops_protocol.identifiers import InstanceName, PlanId
from flops_protocol.messages._base import Message
from flops_protocol.messages.commands import BuildCommand
from flops_protocol.messages.project import ProjectSpec
from flops_protocol.sla import Platform


class Repair(Message):
    """One change to what a dependency file asks for: by which rule, from what, to what, and why."""

    rule: str
    before: str
    """Empty: it is added."""
    after: str | None = None
    """None: it is dropped."""
    why: str
    file: str | None = None
    line: int | None = None


class PlatformForecast(Message):
    """How the image of one platform comes to be, and how big it gets."""

    platform: Platform
    way: str = "assembled"
    """How its ML environment is made: `assembled`, from wheels; `conda`, from conda's channels; `engine`: on top of, or
    in, an image that a container engine builds."""
    why: str = ""
    """Why in this way, and which of its packages are built from source first."""
    packages: int = Field(default=0, ge=0)
    wheel_bytes: int | None = Field(default=None, ge=0)
    """All wheels whose size the index tells, as they are downloaded."""
    unsized: int = Field(default=0, ge=0)
    """Packages whose size nobody tells."""
    layer_bytes: int | None = Field(default=None, ge=0)
    """The ML environment's layer, where it lies in the cache already."""


class BuildForecast(Message):
    """What a build would do, as far as that can be known without installing anything."""

    python: str | None = None
    python_why: str = ""
    file: str | None = None
    """The dependency file that counts."""
    ignored: list[str] = Field(default=[])
    """Dependency files that are there too, and do not count."""
    repairs: list[Repair] = Field(default=[])
    warnings: list[str] = Field(default=[])
    platforms: list[PlatformForecast] = Field(default=[])
    kind: str | None = None
    """Which builds this one is like: `kept` has its layers in the cache, `new` makes them, `engine` builds an
    image below."""
    seconds: float | None = Field(default=None, ge=0)
    """What the last build of this kind took on that machine; a first guess where there was none."""
    phase_seconds: dict[str, float] = Field(default={})
    """The same by phase, which overlap; empty where there was none."""
    errors: list[ErrorBody] = Field(default=[])
    """What a build would fail with."""


class PlanCommand(Message):
    """Think a build through: `spec` and `build` are what a builder would be told. Nothing is installed or pushed."""

    plan: PlanId
    spec: ProjectSpec
    build: BuildCommand


class PlanStatus(Message):
    """How the builder of a plan stands. Not retained: it is said again when the command comes again."""

    plan: PlanId
    instance: InstanceName
    state: Literal["ready", "planning", "done", "lost"]
    since: AwareDatetime
    forecast: BuildForecast | None = None
    """With `done`."""
