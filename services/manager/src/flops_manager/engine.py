"""What the manager may expect of an engine: the thing that runs processes on nodes, and knows nothing of learning."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from flops_protocol.messages.mesh import NodeStatus
from flops_protocol.messages.project import ImageReference, Role
from flops_protocol.sla import ResourceConstraints


class Presence(StrEnum):
    """What an engine knows of an actor that it was asked to run."""

    STARTING = "starting"
    RUNNING = "running"
    EXITED = "exited"


@dataclass(frozen=True)
class ActorSpec:
    """One actor as it is wanted. `(project, instance)` is its name: there is never more than one of a name.

    A higher `incarnation` replaces what runs under the name; the same one is the same wish.
    """

    project: str
    role: Role
    instance: str
    node: str
    incarnation: int
    environment: dict[str, str]
    """Who it is and where the broker is. The engine adds where its folders are."""
    image: ImageReference | None = None
    """None: the builder, which the engine brings itself."""
    python: str | None = None
    """The Python minor that the image was made for."""
    resources: ResourceConstraints = field(default_factory=ResourceConstraints)


@dataclass(frozen=True)
class EngineActor:
    """One actor as it is there."""

    project: str
    role: Role
    instance: str
    node: str
    incarnation: int
    presence: Presence
    started_at: datetime
    ended_at: datetime | None = None
    exit_code: int | None = None
    """Known for an actor that exited, unless the machine went down with it. 128 + n: killed by signal n."""


class Engine(Protocol):
    """Runs actors. Every call can be made again, by this process or the next one, with the same effect.

    An actor that was deployed outlives the manager: a restarted manager finds it in `list`. An actor that is gone
    because its machine (or somebody by `remove`) took it down is absent from `list`, and nobody's fault; one that ended
    by itself is listed as exited until it is removed or replaced.
    """

    @property
    def name(self) -> str:
        """The kind of engine: `process`, `docker`, `swarm`."""
        ...

    async def nodes(self, *, fresh: bool = False) -> Sequence[NodeStatus]:
        """The nodes, as last looked at; `fresh` has them looked at again first."""
        ...

    async def deploy(self, actor: ActorSpec) -> None:
        """Ensures that the actor was started in this incarnation. Does not start again what has exited.

        :raises FlopsError: FLOPS-D004 when it cannot be started, FLOPS-D005 when the image is for other platforms,
            FLOPS-D007 when the image cannot be unpacked
        """
        ...

    async def remove(self, project: str, instance: str, *, keep_state: bool = False) -> None:
        """Ensures that nothing of the actor runs: asks it to stop, then ends it with all its children.

        Its state folder goes too, unless it is to be kept. Harmless when there is no such actor.
        """
        ...

    async def list(self, project: str | None = None) -> Sequence[EngineActor]:
        """The actors that are there, of one project or of all."""
        ...

    async def logs(self, project: str, instance: str, lines: int = 50) -> Sequence[str]:
        """The last lines that the actor wrote, of its last life; empty when it wrote nothing or is not there."""
        ...

    def changes(self) -> AsyncIterator[str]:
        """The IDs of projects of which an actor has come or gone, as it happens. Hints: some may be missing."""
        ...

    async def run(self) -> None:
        """What the engine does all the time; until it is cancelled."""
        ...
