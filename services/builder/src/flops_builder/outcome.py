"""What a build brought."""

from __future__ import annotations

from dataclasses import dataclass, field

from flops_protocol.messages.project import ImageSet


@dataclass(frozen=True)
class Outcome:
    """Images in the registry, with what was changed and noticed on the way."""

    images: ImageSet
    repairs: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    bytes_pushed: int = 0
    seconds: float = 0.0
    phase_seconds: dict[str, float] = field(default_factory=dict)
