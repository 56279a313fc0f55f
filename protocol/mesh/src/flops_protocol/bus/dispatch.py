"""What arrived, to its handlers: one message at a time, three attempts, then the dead letters."""

from __future__ import annotations

import base64
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import anyio

from flops_protocol.bus.connection import Connection, Packet, Wish
from flops_protocol.bus.interface import Handler, Received
from flops_protocol.channels import Channel
from flops_protocol.envelope import Envelope, decode
from flops_protocol.errors import FlopsError
from flops_protocol.messages.mesh import DeadLetter

log = logging.getLogger(__name__)

ATTEMPTS = 3
PAUSES = (0.05, 0.25)
"""Seconds before the second and the third attempt."""
MAX_DEAD_PAYLOAD = 32 * 1024
"""Bytes of a bad message that its dead letter quotes; JSON may write one byte as six (`\\u0000`)."""
_MAX_ROUTES = 4096


@dataclass(slots=True)
class _Item:
    connection: Connection
    packet: Packet
    acknowledged: bool = False

    def acknowledge(self) -> None:
        if not self.acknowledged:
            self.acknowledged = True
            self.connection.acknowledge(self.packet)


@dataclass(frozen=True)
class _Subscription:
    channel: Channel[Any]
    handler: Handler[Any]
    parameters: dict[str, str]
    wish: Wish

    def match(self, topic: str) -> dict[str, str] | None:
        found = self.channel.match(topic)
        if found is None or any(found[name] != value for name, value in self.parameters.items()):
            return None
        return found


class Dispatcher:
    """Holds the subscriptions and the queue. The queue is bounded by the in-flight window that the broker keeps."""

    def __init__(self, service: str, bury: Callable[[DeadLetter], Awaitable[None]]) -> None:
        """`bury` publishes a dead letter of `service`."""
        self._service = service
        self._bury = bury
        self._subscriptions: list[_Subscription] = []
        self._routes: dict[tuple[str, tuple[int, ...]], list[tuple[_Subscription, dict[str, str]]]] = {}
        self._queue: deque[_Item] = deque()
        self._unacknowledged: deque[_Item] = deque()
        self._limit: int | None = None
        self._wake = anyio.Event()

    @property
    def wishes(self) -> list[Wish]:
        """The subscriptions that are needed, one a filter."""
        return list({subscription.wish.filter: subscription.wish for subscription in self._subscriptions}.values())

    def add(self, channel: Channel[Any], handler: Handler[Any], parameters: dict[str, str]) -> Wish:
        """Has `handler` called from now on."""
        wish = Wish(channel.filter(**parameters), channel.qos)
        self._subscriptions.append(_Subscription(channel, handler, parameters, wish))
        self._routes.clear()
        return wish

    def put(self, connection: Connection, packet: Packet) -> None:
        """Queues what arrived."""
        item = _Item(connection, packet)
        self._queue.append(item)
        if packet.qos:
            self._unacknowledged.append(item)
            if self._limit is not None:
                self._acknowledge_down_to(self._limit)
        self._wake.set()

    @property
    def unacknowledged(self) -> int:
        """How many messages the broker waits for our word about."""
        return len(self._unacknowledged)

    def hold_at_most(self, count: int) -> None:
        """From now on, has no more than `count` messages unacknowledged: what is beyond is acknowledged before it is
        handled, oldest first (MQTT 5, section 4.6), and is lost if this process is killed before it comes to it."""
        self._limit = count
        self._acknowledge_down_to(count)

    def reconnected(self, connection: Connection) -> None:
        """Forgets what waits from earlier connections, if the broker resumes the session: it has not had our word for
        that, and sends it again."""
        self._unacknowledged = deque(item for item in self._unacknowledged if item.connection is connection)
        if connection.resumed:
            self._queue = deque(item for item in self._queue if item.connection is connection or item.packet.qos == 0)

    def _acknowledge_down_to(self, count: int) -> None:
        while len(self._unacknowledged) > count:
            self._unacknowledged.popleft().acknowledge()

    async def run(self) -> None:
        """Takes one message after the other, until it is cancelled."""
        while True:
            while self._queue:
                item = self._queue.popleft()
                await self._handle(item.packet)
                if item.packet.qos:
                    item.acknowledge()
                    if self._unacknowledged and self._unacknowledged[0] is item:
                        self._unacknowledged.popleft()
            self._wake = anyio.Event()
            await self._wake.wait()

    async def _handle(self, packet: Packet) -> None:
        if not packet.payload:
            return  # The end of a retained state (MQTT 5, section 3.3.1.3), not a message.
        envelope: Envelope[Any] | None = None
        for subscription, parameters in self._route(packet):
            if envelope is None:
                try:
                    envelope = _read(packet.payload, subscription.channel)
                except FlopsError as error:
                    await self._give_up(packet, error, attempts=1)
                    return
            received = Received(
                channel=subscription.channel,
                parameters=dict(parameters),
                topic=packet.topic,
                envelope=envelope,
                retained=packet.retained,
                reply_to=packet.reply_to,
                correlation=packet.correlation,
            )
            await self._call(subscription.handler, received, packet)

    def _route(self, packet: Packet) -> list[tuple[_Subscription, dict[str, str]]]:
        key = (packet.topic, packet.subscriptions)
        routes = self._routes.get(key)
        if routes is None:
            routes = [
                (subscription, found)
                for subscription in self._subscriptions
                if (found := subscription.match(packet.topic)) is not None
            ]
            # The broker sends a copy for each subscription that matches; this one is for the handlers of its own.
            named = [route for route in routes if route[0].wish.identifier in packet.subscriptions]
            if len(self._routes) >= _MAX_ROUTES:
                self._routes.clear()
            self._routes[key] = routes = named if packet.subscriptions else routes
        return routes

    async def _call(self, handler: Handler[Any], received: Received[Any], packet: Packet) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await handler(received)
            except Exception as error:
                log.warning("attempt %d at %s failed", attempt, packet.topic, exc_info=error)
                if attempt < ATTEMPTS:
                    await anyio.sleep(PAUSES[attempt - 1])
                else:
                    reason = FlopsError("FLOPS-P007", f"{type(error).__name__}: {error}"[:2000])
                    await self._give_up(packet, reason, attempts=attempt)
            else:
                return

    async def _give_up(self, packet: Packet, error: FlopsError, *, attempts: int) -> None:
        log.error("%s goes to the dead letters: %s", packet.topic, error)
        payload = packet.payload[:MAX_DEAD_PAYLOAD]
        truncated = len(payload) < len(packet.payload)
        try:
            # A cut may go through a character; what is whole before it is text all the same.
            text, encoding = payload.decode("utf-8", "ignore" if truncated and _is_text(payload) else "strict"), "utf-8"
        except UnicodeDecodeError:
            text, encoding = base64.b64encode(payload).decode(), "base64"
        letter = DeadLetter(
            service=self._service,
            topic=packet.topic,
            reason=error.body,
            attempts=attempts,
            at=datetime.now(UTC),
            payload=text,
            payload_encoding="utf-8" if encoding == "utf-8" else "base64",
            truncated=truncated,
        )
        try:
            await self._bury(letter)
        except FlopsError:
            # Refused: there is nobody else to tell. No broker: the message was not acknowledged and comes again.
            log.exception("the dead letter about %s was not taken", packet.topic)


def _read(payload: bytes, channel: Channel[Any]) -> Envelope[Any]:
    envelope = decode(payload, channel.model)
    if envelope.type != channel.type:
        raise FlopsError("FLOPS-P002", f"type: {envelope.type} is not {channel.type}")
    return envelope


def _is_text(payload: bytes) -> bool:
    """Whether it is UTF-8, but for a character cut off at the end."""
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        return error.end == len(payload) and len(payload) - error.start < 4
    return True
