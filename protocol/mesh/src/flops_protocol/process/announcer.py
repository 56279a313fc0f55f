"""What an actor says on the bus: its status, and everything that happens, in the order in which it happens."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar, cast

import anyio
import structlog

from flops_protocol.channels import Channel
from flops_protocol.errors import FlopsError
from flops_protocol.messages._base import Message
from flops_protocol.messages.actors import AggregatorStatus, LearnerStatus

STATUS_SECONDS = 0.2
"""A status in which only the round is new waits this long for a newer one."""
AGAIN_SECONDS = 1.0

Status = TypeVar("Status", bound=AggregatorStatus | LearnerStatus)
Publish = Callable[[Channel[Any], Message], Awaitable[object]]

log = structlog.get_logger()


class Announcer(Generic[Status]):
    """Says things without making anyone wait: `run` brings them out one by one, through every reconnect."""

    def __init__(self, publish: Publish, channel: Channel[Any], status: Status) -> None:
        """`publish` is the bus's, with what fills the topics; `channel` takes the status."""
        self._publish = publish
        self._channel = channel
        self._said: deque[tuple[Channel[Any], Message]] = deque()
        self._fresh = anyio.Event()
        self._quiet = anyio.Event()
        self._late_status = False
        self.status = status

    def stand(self, **changes: Any) -> None:
        """Changes the status; one in which the state changes is said in its turn, others of the training soon."""
        before = self.status
        same = changes.get("state", before.state) is before.state
        since = before.since if same else datetime.now(UTC)
        self.status = cast("Status", before.model_copy(update={**changes, "since": since}))
        if self.status == before:
            return
        if same and before.state.value == "training":
            self._late_status = True
            self._fresh.set()
        else:
            self.say(self._channel, self.status)

    def say(self, channel: Channel[Any], message: Message) -> None:
        """Says something, after what was said before."""
        self._said.append((channel, message))
        self._fresh.set()

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
                await self._send(self._channel, self.status)
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
                await self._publish(channel, message)
            except FlopsError as error:
                if error.body.code != "FLOPS-P006":
                    log.error("the broker does not take a message", channel=channel.name, error=str(error))  # noqa: TRY400
                    return
                await anyio.sleep(AGAIN_SECONDS)
            else:
                return
