"""Messages on their way to the broker: kept until it has them, sent again on the next connection."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from flops_protocol.bus.connection import Connection
from flops_protocol.bus.interface import Outgoing
from flops_protocol.errors import FlopsError


@dataclass(slots=True)
class _Pending:
    outgoing: Outgoing
    deadline: float
    # An asyncio future, not an anyio event: one is made for every message, and it costs a third.
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Outbox:
    """Sends in the order of the calls, at most the connection's window at a time."""

    def __init__(self, timeout: float) -> None:
        """`timeout`: seconds that a message may wait for the broker to have it."""
        self._timeout = timeout
        self._connection: Connection | None = None
        self._waiting: deque[_Pending] = deque()
        self._flying: dict[int, _Pending] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def send(self, outgoing: Outgoing) -> None:
        """Returns when the broker has a QoS 1 message; at once for QoS 0, which is dropped while there is no broker.

        :raises FlopsError: FLOPS-P004 when the broker refuses it, FLOPS-P006 when there was no broker for too long
        """
        if outgoing.qos == 0:
            if self._connection is not None:
                self._connection.publish(outgoing)
            return
        loop = asyncio.get_running_loop()
        pending = _Pending(outgoing, loop.time() + self._timeout)
        self._waiting.append(pending)
        self._pump()
        if self._timer is None:
            self._timer = loop.call_at(pending.deadline, self._expire)
        await pending.done

    @property
    def unanswered(self) -> bool:
        """Whether the broker has not said a word yet about something that it has."""
        return bool(self._flying)

    def open(self, connection: Connection) -> None:
        """Sends over this connection from now on, beginning with what the last one left undone, in its order."""
        self._connection = connection
        self._pump()

    def shut(self) -> None:
        """The connection is lost: what is not settled waits for the next one."""
        self._connection = None
        self._waiting.extendleft(reversed(self._flying.values()))
        self._flying.clear()

    def close(self) -> None:
        """The end: whoever still waits is told."""
        self.shut()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for pending in self._waiting:
            _fail(pending, FlopsError("FLOPS-P006", f"the bus was stopped before {pending.outgoing.topic} was taken"))
        self._waiting.clear()

    def settled(self, connection: Connection, token: int, refusal: str | None) -> None:
        """The broker's word about a message."""
        if connection is not self._connection or (pending := self._flying.pop(token, None)) is None:
            return
        if refusal is not None:
            _fail(pending, FlopsError("FLOPS-P004", f"{pending.outgoing.topic}: {refusal}"))
        elif not pending.done.done():
            pending.done.set_result(None)
        if self._waiting:
            self._pump()

    def _pump(self) -> None:
        connection = self._connection
        if connection is None:
            return
        while self._waiting and len(self._flying) < connection.window:
            pending = self._waiting[0]
            # Whoever gave up waiting, by timeout or cancellation, does not want it sent any more.
            if not pending.done.done():
                token = connection.publish(pending.outgoing)
                if token is None:
                    return
                self._flying[token] = pending
            self._waiting.popleft()

    def _expire(self) -> None:
        """Everything waits equally long, so that the oldest is always the next to expire."""
        loop = asyncio.get_running_loop()
        self._timer = None
        next_deadline: float | None = None
        for pending in (*self._flying.values(), *self._waiting):
            if pending.done.done():
                continue
            if pending.deadline <= loop.time():
                text = f"{pending.outgoing.topic}: no broker took it in {self._timeout:g} s"
                _fail(pending, FlopsError("FLOPS-P006", text))
            elif next_deadline is None or pending.deadline < next_deadline:
                next_deadline = pending.deadline
        if next_deadline is not None:
            self._timer = loop.call_at(next_deadline, self._expire)


def _fail(pending: _Pending, error: FlopsError) -> None:
    if not pending.done.done():
        pending.done.set_exception(error)
