"""Identifiers: what may stand between two slashes of a topic, and how new ones are made."""

from __future__ import annotations

import os
import re
import time
import uuid
from typing import Annotated

from pydantic import StringConstraints

MAX_SEGMENT = 63

Segment = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=MAX_SEGMENT)]
"""One level of a topic: lower-case letters, digits and inner hyphens, at most 63 characters (a DNS label, RFC 1123),
so that the same name serves topics, containers and host names."""

ProjectId = Segment
PlanId = Segment
InstanceName = Segment
NodeName = Segment
CommitId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]
"""A full Git object name, SHA-1 or SHA-256."""
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
"""OCI image-spec, descriptor.md, "Digests"."""


def uuid7() -> str:
    """A UUID version 7 (RFC 9562, section 5.7): sorts by the time of its making, in milliseconds."""
    milliseconds = time.time_ns() // 1_000_000
    value = int.from_bytes(milliseconds.to_bytes(6, "big") + os.urandom(10), "big")
    value = value & ~(0xF << 76) | (0x7 << 76)
    value = value & ~(0x3 << 62) | (0x2 << 62)
    return str(uuid.UUID(int=value))


def segment(text: str, limit: int = MAX_SEGMENT) -> str:
    """Turns any text into a valid segment of at most `limit` characters (`x` where nothing is left)."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:limit].strip("-") or "x"


def new_project_id(repository_url: str) -> str:
    """A new project ID that says which repository it is about: `digits-sklearn-3f9a1c2b`."""
    name = repository_url.rstrip("/").removesuffix(".git").replace(":", "/").rpartition("/")[2]
    return f"{segment(name, 40)}-{os.urandom(4).hex()}"


def new_plan_id() -> str:
    """A new plan ID: `plan-3f9a1c2b5d6e7f80`."""
    return f"plan-{os.urandom(8).hex()}"
