"""What the manager can do for a project. An action is a wish: the same one twice is one."""

from __future__ import annotations

from dataclasses import dataclass

from flops_protocol.errors import ErrorBody
from flops_protocol.messages.project import Role


@dataclass(frozen=True)
class ResolveRef:
    """Find the one commit that the ref stands for."""

    attempt: int


@dataclass(frozen=True)
class LookUp:
    """Compute the source key, check that the actors could be placed, and look the images up."""

    attempt: int


@dataclass(frozen=True)
class Deploy:
    """Have the engine run an actor."""

    instance: str
    incarnation: int


@dataclass(frozen=True)
class Remove:
    """Have the engine remove an actor and all that runs for it."""

    instance: str


@dataclass(frozen=True)
class Halt:
    """Have the engine remove an actor that was given up; the project remembers it."""

    instance: str


@dataclass(frozen=True)
class Command:
    """Tell the actors of a role what is wanted, again and again until they say that they know."""

    role: Role
    instances: tuple[tuple[str, int], ...]
    """Those who do not know yet, with their incarnation: a new one is told at once."""


@dataclass(frozen=True)
class Fail:
    """End the attempt with this error; `instance` is the actor whose log tells more."""

    attempt: int
    error: ErrorBody
    instance: str | None = None


Action = ResolveRef | LookUp | Deploy | Remove | Halt | Command | Fail
