"""What is there, as opposed to what is wanted: what actors say of themselves, and what the engine says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from flops_protocol.messages.actors import AggregatorStatus, BuilderStatus, LearnerStatus, RoundReport
from flops_protocol.messages.mesh import NodeStatus
from flops_protocol.messages.project import ErrorReport

from flops_manager.engine import EngineActor
from flops_manager.project.state import Actor

EVER = datetime.min.replace(tzinfo=UTC)

ActorStatus = BuilderStatus | AggregatorStatus | LearnerStatus


@dataclass(frozen=True)
class Report:
    """The last status that an actor published. `epoch` says which life of its process it is about."""

    status: ActorStatus
    epoch: int
    at: datetime
    """When it arrived here."""

    @property
    def lost(self) -> bool:
        """Whether the broker spoke in the actor's name: its connection is gone, and maybe the actor, too."""
        return self.status.state.value == "lost"


@dataclass(frozen=True)
class Fact:
    """Something that an actor said once, that waits to be written into the history."""

    number: int
    """Facts are taken in the order of their numbers."""
    instance: str
    message: RoundReport | ErrorReport


@dataclass(frozen=True)
class There:
    """What is there of one project. A hint by nature: every part of it may be old when it is read."""

    reports: Mapping[str, Report] = field(default_factory=dict)
    running: Mapping[str, EngineActor] | None = None
    """By instance; None while the engine does not answer."""
    facts: Sequence[Fact] = ()
    nodes: tuple[NodeStatus, ...] | None = None
    """None while they are not known."""
    listening_since: datetime = EVER
    """When we last got to the broker: what was said before may still be on its way, so silence counts from then on."""

    def report(self, actor: Actor) -> Report | None:
        """What the actor said in its present life."""
        report = self.reports.get(actor.instance)
        return report if report is not None and report.epoch > actor.void_epoch else None
