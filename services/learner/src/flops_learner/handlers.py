"""What the learner does with each message. Handlers only take note; the work is done elsewhere."""

from __future__ import annotations

from flops_protocol.bus import Bus, Received
from flops_protocol.channels import AGGREGATOR_STATUS, LEARN_COMMAND, SPEC
from flops_protocol.messages.actors import AggregatorStatus
from flops_protocol.messages.commands import LearnCommand
from flops_protocol.messages.project import ProjectSpec

from flops_learner.desk import Desk


class Handlers:
    """Registers itself on the bus."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def register(self, bus: Bus, project: str) -> None:
        """Has the bus call these."""
        bus.on(SPEC, self.on_spec, project=project)
        bus.on(LEARN_COMMAND, self.on_command, project=project)
        bus.on(AGGREGATOR_STATUS, self.on_aggregator_status, project=project)

    async def on_spec(self, received: Received[ProjectSpec]) -> None:
        """What was asked for."""
        self._desk.put_spec(received.message)

    async def on_command(self, received: Received[LearnCommand]) -> None:
        """What the manager wants."""
        self._desk.put_command(received.message)

    async def on_aggregator_status(self, received: Received[AggregatorStatus]) -> None:
        """Where the aggregator is."""
        self._desk.put_aggregator(received.message)
