"""A conda file as conda itself reads it, for where PyPI cannot serve it."""

from __future__ import annotations

from dataclasses import dataclass

from flops_protocol.errors import FlopsError

from flops_builder.dependencies.declaration import Requirement

CONDA_FILES = frozenset({"conda.yaml", "conda.yml", "environment.yaml", "environment.yml"})
"""What conda files are called."""


@dataclass(frozen=True)
class CondaSpec:
    """One conda requirement ("MatchSpec") with the place where it stands."""

    text: str
    """Without a channel before it."""
    name: str
    """In lower case."""
    file: str
    line: int | None = None
    channel: str | None = None
    """The channel that it is wanted from (`channel::name`)."""


@dataclass(frozen=True)
class CondaFile:
    """What a conda file asks of conda, and what it asks of pip."""

    specs: tuple[CondaSpec, ...]
    pip: tuple[Requirement, ...]
    channels: tuple[str, ...] = ()
    """Their names or addresses, the most important first."""
    refused: FlopsError | None = None
    """Why it cannot be said in PyPI's words; None: it can."""
