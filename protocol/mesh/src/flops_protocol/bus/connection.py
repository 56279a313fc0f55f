"""What the bus needs of a transport: bytes out, bytes in, and word of what became of them."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from flops_protocol.bus.interface import Outgoing


class ConnectionFailed(Exception):  # noqa: N818 - it is an event of every day, not an error of the program
    """Raised by a transport when it cannot connect, or lost the connection; the bus tries again."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A message as it arrived."""

    topic: str
    payload: bytes
    qos: int
    token: int
    """What the transport knows the message by, for the acknowledgement."""
    retained: bool = False
    reply_to: str | None = None
    correlation: bytes | None = None
    subscriptions: tuple[int, ...] = ()
    """Identifiers of the subscriptions that this copy is for; empty where the broker names none."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A subscription that is wanted."""

    filter: str
    qos: int

    @property
    def identifier(self) -> int:
        """The MQTT subscription identifier (1 to 268,435,455): the same for the same filter in every process, so that
        what waited in a session while we were away still names the right subscription."""
        return zlib.crc32(self.filter.encode()) % 268_435_455 + 1


class Sink(Protocol):
    """What a connection tells the bus. Called in the event loop, in the order of arrival; never blocks."""

    def arrived(self, connection: Connection, packet: Packet) -> None:
        """A message is here."""
        ...

    def settled(self, connection: Connection, token: int, refusal: str | None) -> None:
        """The broker took the QoS 1 message `token`, or refused it for the reason given."""
        ...


class Connection(Protocol):
    """One connection, from its handshake to its loss. What it was told after its loss has no effect."""

    @property
    def window(self) -> int:
        """How many QoS 1 messages may be under way at a time."""
        ...

    @property
    def backlog(self) -> int | None:
        """For a broker that holds back its answers (to `publish`) while we have so many of its messages unacknowledged:
        how many these are. None for a broker that does not."""
        ...

    @property
    def resumed(self) -> bool:
        """Whether the broker still had our session: what we did not acknowledge comes again."""
        ...

    def publish(self, outgoing: Outgoing) -> int | None:
        """Hands a message over; the token that `settled` will name (0 for QoS 0), or None without a connection."""
        ...

    def acknowledge(self, packet: Packet) -> None:
        """Tells the broker that a QoS 1 message is done."""
        ...

    async def subscribe(self, wishes: Sequence[Wish]) -> list[str | None]:
        """Subscribes; for each wish, why the broker refused it, or None.

        :raises ConnectionFailed: when the connection is lost, or the broker does not answer in time
        """
        ...

    def unsubscribe(self, topic_filter: str) -> None:
        """Ends a subscription, before anything that is asked for later."""
        ...

    async def lost(self) -> str:
        """Returns when the connection is lost, with the reason.

        :raises FlopsError: FLOPS-P012 when another process took our place
        """
        ...
