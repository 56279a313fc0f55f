"""What the aggregator does with each message. Handlers only take note; the work is done elsewhere."""

from __future__ import annotations

from collections.abc import Callable

from flops_protocol.bus import Bus, Received
from flops_protocol.channels import LEARNER_STATUS, SPEC, TRAIN_COMMAND
from flops_protocol.messages.actors import LearnerStatus
from flops_protocol.messages.commands import TrainCommand
from flops_protocol.messages.project import ProjectSpec

from flops_aggregator.desk import Desk
from flops_aggregator.roster import Roster


class Handlers:
    """Registers itself on the bus."""

    def __init__(self, desk: Desk, roster: Roster, close_stream: Callable[[str, str], None]) -> None:
        """`close_stream` is called with a learner that is not to be waited for any more, and why."""
        self._desk = desk
        self._roster = roster
        self._close_stream = close_stream

    def register(self, bus: Bus, project: str) -> None:
        """Has the bus call these."""
        bus.on(SPEC, self.on_spec, project=project)
        bus.on(TRAIN_COMMAND, self.on_command, project=project)
        bus.on(LEARNER_STATUS, self.on_learner_status, project=project)

    async def on_spec(self, received: Received[ProjectSpec]) -> None:
        """What was asked for."""
        self._desk.put_spec(received.message)

    async def on_command(self, received: Received[TrainCommand]) -> None:
        """What the manager wants."""
        self._desk.put_command(received.message)

    async def on_learner_status(self, received: Received[LearnerStatus]) -> None:
        """What a learner says of itself, or the broker in its name."""
        status = received.message
        if self._roster.said(status, received.envelope.epoch):
            self._close_stream(status.learner, f"it says that it is {status.state.value}")
