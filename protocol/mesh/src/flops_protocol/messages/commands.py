"""What the manager wants of the processes that it started.

A command is sent again until it shows in the actor's status.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from flops_protocol.identifiers import Digest, InstanceName, NodeName, ProjectId
from flops_protocol.messages._base import Message
from flops_protocol.messages.project import ImageSet


class BuildCommand(Message):
    """Build the images of the project, or stop. What to build stands in the project's retained spec."""

    project: ProjectId
    command: str
    """The same ID for the same wish: doing it twice is harmless."""
    action: Literal["build", "stop"]
    registry: str
    """Where to push: `oci:/absolute/path`, or `http(s)://host[:port]`."""
    pythons: list[str] = Field(min_length=1)
    """Python minors that the nodes have, best first: `["3.11", "3.12"]`."""
    source_key: Digest
    """The key of everything known before the locks are; written beside the image, so that the next lookup finds it."""
    runtime_version: str
    """The version of the FL runtime layer; part of the image key."""
    deadline_seconds: float = Field(gt=0)
    gpus: bool = False
    """Whether the learners' nodes have GPUs: then PyTorch comes with CUDA, else for the CPU where it is to be had."""
    base_image: str | None = None
    """What the layers stand on: a reference by digest, or `scratch`. None: the builder's own setting."""


class TrainCommand(Message):
    """Wait for the learners, train, track; or stop."""

    project: ProjectId
    command: str
    action: Literal["train", "stop"]
    images: ImageSet
    learners: list[InstanceName]
    tokens: dict[InstanceName, str] = Field(default={})
    """The secret that each learner shows when it opens its stream."""
    round_seconds: float = Field(gt=0)
    ready_seconds: float = Field(gt=0)
    """How long to wait for `min_available_clients` learners."""
    tracking_seconds: float = Field(ge=0)
    """How long to wait at the end for MLflow to take what it has not taken yet."""


class LearnerAssignment(Message):
    """Which part of which node's data a learner reads: rows `part`, `part + parts`, `part + 2·parts`, …"""

    learner: InstanceName
    node: NodeName
    data_tags: list[str]
    part: int = Field(ge=0)
    parts: int = Field(ge=1)
    token: str = ""


class LearnCommand(Message):
    """Load the data, join the aggregator, train; or stop. Each learner finds its own assignment by its name."""

    project: ProjectId
    command: str
    action: Literal["train", "stop"]
    assignments: list[LearnerAssignment]
    load_seconds: float = Field(gt=0)
    round_seconds: float = Field(gt=0)
