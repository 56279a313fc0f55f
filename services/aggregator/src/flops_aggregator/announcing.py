"""What the aggregator says on the bus: its status, and everything that happens, in the order in which it happens."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import Any

import anyio
import structlog
from flops_protocol.bus import Bus
from flops_protocol.channels import AGGREGATOR_ERRORS, AGGREGATOR_STATUS, Channel
from flops_protocol.errors import ErrorBody, FlopsError
from flops_protocol.messages._base import Message
from flops_protocol.messages.actors import AggregatorState, AggregatorStatus
from flops_protocol.messages.project import ErrorReport, ProjectStage

STATUS_SECONDS = 0.2
"""A status in which only the round is new waits this long for a newer one."""
AGAIN_SECONDS = 1.0

log = structlog.get_logger()


class Announcer:
    """Says things without making anyone wait: `run` brings them out one by one, through every reconnect."""

    def __init__(self, bus: Bus, project: str, instance: str) -> None:
        self._bus = bus
        self._said: deque[tuple[Channel[Any], Message]] = deque()
        self._fresh = anyio.Event()
        self._quiet = anyio.Event()
        self._late_status = False
        self.status = AggregatorStatus(
            project=project, instance=instance, state=AggregatorState.STARTING, since=datetime.now(UTC)
        )

    def stand(self, **changes: Any) -> None:
        """Changes the status; one in which the state changes is said in its turn, others soon."""
        state = changes.get("state", self.status.state)
        since = self.status.since if state is self.status.state else datetime.now(UTC)
        before = self.status.state
        self.status = self.status.model_copy(update={**changes, "since": since})
        if self.status.state is before and self.status.state is AggregatorState.TRAINING:
            self._late_status = True
            self._fresh.set()
        else:
            self.say(AGGREGATOR_STATUS, self.status)

    def say(self, channel: Channel[Any], message: Message) -> None:
        """Says something, after what was said before."""
        self._said.append((channel, message))
        self._fresh.set()

    def report(self, error: ErrorBody, *, fatal: bool) -> None:
        """Says that something went wrong."""
        training = self.status.state not in {AggregatorState.STARTING, AggregatorState.READY, AggregatorState.WAITING}
        stage = ProjectStage.TRAINING if training else ProjectStage.DEPLOYING
        message = ErrorReport(
            project=self.status.project, instance=self.status.instance, stage=stage, fatal=fatal, error=error
        )
        self.say(AGGREGATOR_ERRORS, message)

    async def said(self) -> None:
        """Waits until everything has reached the broker."""
        while self._said or self._late_status:
            await self._quiet.wait()

    async def run(self) -> None:
        """Brings out what is said, until it is cancelled."""
        while True:
            while self._said:
                channel, message = self._said[0]
                await self._send(channel, message)
                self._said.popleft()
            if self._late_status:
                self._late_status = False
                await self._send(AGGREGATOR_STATUS, self.status)
                self._silence()
                await anyio.sleep(STATUS_SECONDS)
                continue
            self._silence()
            self._fresh = anyio.Event()
            await self._fresh.wait()

    def _silence(self) -> None:
        self._quiet.set()
        self._quiet = anyio.Event()

    async def _send(self, channel: Channel[Any], message: Message) -> None:
        while True:
            try:
                await self._bus.publish(channel, message, project=self.status.project)
            except FlopsError as error:
                if error.body.code != "FLOPS-P006":
                    log.error("the broker does not take a message", channel=channel.name, error=str(error))  # noqa: TRY400
                    return
                await anyio.sleep(AGAIN_SECONDS)
            else:
                return
