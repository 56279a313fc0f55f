"""What the learner says of itself, and of what went wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

from flops_protocol.bus import Bus
from flops_protocol.channels import LEARNER_ERRORS, LEARNER_STATUS
from flops_protocol.errors import ErrorBody
from flops_protocol.messages.actors import LearnerState, LearnerStatus
from flops_protocol.messages.project import ErrorReport, ProjectStage
from flops_protocol.process.announcer import Announcer


class LearnerAnnouncer(Announcer[LearnerStatus]):
    """Says the learner's status and errors."""

    def __init__(self, bus: Bus, project: str, learner: str, node: str) -> None:
        status = LearnerStatus(
            project=project, learner=learner, node=node, state=LearnerState.STARTING, since=datetime.now(UTC)
        )
        super().__init__(partial(bus.publish, project=project, learner=learner), LEARNER_STATUS, status)
        self._reported: ErrorBody | None = None

    def report(self, error: ErrorBody, log_tail: list[str]) -> None:
        """Says that something went wrong; the same again, round by round, is said once. Whether the project can go on
        without this learner is the aggregator's to say."""
        place = (error.code, error.file, error.line)
        if self._reported is not None and place == (self._reported.code, self._reported.file, self._reported.line):
            return
        self._reported = error
        training = self.status.state is LearnerState.TRAINING
        message = ErrorReport(
            project=self.status.project,
            instance=self.status.learner,
            stage=ProjectStage.TRAINING if training else ProjectStage.DEPLOYING,
            fatal=False,
            error=error,
            log_tail=log_tail,
        )
        self.say(LEARNER_ERRORS, message)
