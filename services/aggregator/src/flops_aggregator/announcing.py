"""What the aggregator says of itself, and of what went wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

from flops_protocol.bus import Bus
from flops_protocol.channels import AGGREGATOR_ERRORS, AGGREGATOR_STATUS
from flops_protocol.errors import ErrorBody
from flops_protocol.messages.actors import AggregatorState, AggregatorStatus
from flops_protocol.messages.project import ErrorReport, ProjectStage
from flops_protocol.process.announcer import Announcer

BEFORE_TRAINING = frozenset({AggregatorState.STARTING, AggregatorState.READY, AggregatorState.WAITING})


class AggregatorAnnouncer(Announcer[AggregatorStatus]):
    """Says the aggregator's status, rounds and errors."""

    def __init__(self, bus: Bus, project: str, instance: str) -> None:
        status = AggregatorStatus(
            project=project, instance=instance, state=AggregatorState.STARTING, since=datetime.now(UTC)
        )
        super().__init__(partial(bus.publish, project=project), AGGREGATOR_STATUS, status)

    def report(self, error: ErrorBody, *, fatal: bool) -> None:
        """Says that something went wrong."""
        stage = ProjectStage.DEPLOYING if self.status.state in BEFORE_TRAINING else ProjectStage.TRAINING
        message = ErrorReport(
            project=self.status.project, instance=self.status.instance, stage=stage, fatal=fatal, error=error
        )
        self.say(AGGREGATOR_ERRORS, message)
