"""What services and nodes say of themselves, and what nobody could read."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime, Field

from flops_protocol.errors import ErrorBody
from flops_protocol.identifiers import InstanceName, NodeName
from flops_protocol.messages._base import Message
from flops_protocol.sla import Platform


class ServiceStatus(Message):
    """Birth and last will of a long-running service. Retained."""

    kind: Literal["manager", "observer"]
    instance: InstanceName
    state: Literal["up", "down", "lost"]
    since: AwareDatetime
    version: str
    links: dict[str, str] = Field(default={})


class Capability(StrEnum):
    """What a node may be used for."""

    IMAGE_BUILDER = "image-builder"
    AGGREGATOR = "aggregator"
    LEARNER = "learner"


class DataTag(Message):
    """What a node has under one tag: counts and column names, never rows."""

    tag: str
    files: int = Field(ge=0)
    rows: int = Field(ge=0)
    bytes: int = Field(ge=0)
    columns: dict[str, str]
    """Arrow types by column name."""


class NodeStatus(Message):
    """A machine that actors can be placed on, as its engine reports it. Retained, written by the manager."""

    node: NodeName
    engine: str
    state: Literal["up", "down"]
    platform: Platform
    pythons: list[str] = Field(default=[])
    """Python minors that the node can run without an image; empty where the image brings its own."""
    capabilities: list[Capability]
    data_tags: list[DataTag] = Field(default=[])
    cpus: int = Field(ge=1)
    memory_bytes: int = Field(ge=0)
    disk_free_bytes: int = Field(default=0, ge=0)
    gpus: int = Field(default=0, ge=0)
    actors: int = Field(default=0, ge=0)
    refused: dict[str, str] = Field(default={})
    """Why the node was not taken, by project ID, for projects that wait or failed in placement."""


class DeadLetter(Message):
    """What could not be read or handled, with the reason. `payload` is UTF-8 where it is text, else base64."""

    service: InstanceName
    topic: str
    reason: ErrorBody
    attempts: int = Field(ge=1)
    at: AwareDatetime
    payload: str
    payload_encoding: Literal["utf-8", "base64"]
    truncated: bool = False
