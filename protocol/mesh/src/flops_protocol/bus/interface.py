"""What a service may expect of the bus, whichever transport carries it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from flops_protocol.channels import Channel
from flops_protocol.envelope import Envelope
from flops_protocol.messages._base import Message
from flops_protocol.messages.requests import Reply

M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class Identity:
    """Who writes: `source` in every envelope is `kind/instance`, or `projects/P/kind/instance` for an actor.

    The MQTT client ID is the source with hyphens, so that a second process of the same name takes the first one's
    place at the broker: the newer one wins.
    """

    kind: str
    instance: str
    project: str | None = None
    epoch: int = field(default_factory=lambda: time.time_ns() // 1_000_000)

    @property
    def source(self) -> str:
        """The envelope's `source`."""
        own = f"{self.kind}/{self.instance}"
        return own if self.project is None else f"projects/{self.project}/{own}"

    @property
    def client_id(self) -> str:
        """The MQTT client ID."""
        return self.source.replace("/", "-")


@dataclass(frozen=True)
class Received(Generic[M]):
    """A message with all that came with it."""

    channel: Channel[M]
    parameters: dict[str, str]
    topic: str
    envelope: Envelope[M]
    retained: bool = False
    """True for the state that was there before the subscription."""
    reply_to: str | None = None
    correlation: bytes | None = None

    @property
    def message(self) -> M:
        """The envelope's data."""
        return self.envelope.data


Handler = Callable[[Received[M]], Awaitable[None]]


@dataclass(frozen=True)
class Outgoing:
    """A message composed, ready to be kept (an outbox) or sent."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    expiry: int | None = None
    correlation: bytes | None = None
    reply_to: str | None = None


@dataclass(frozen=True)
class Testament:
    """What the broker says in our name when we are gone without a word (MQTT 5, section 3.1.2.5).

    It is composed at the connect, so that its sequence is older than what was said since: take it by its arrival.
    """

    channel: Channel[Any]
    message: Message
    parameters: dict[str, str]
    delay_seconds: int = 3
    """A restart within this time stays silent."""


class Bus(Protocol):
    """A connection to the mesh that heals itself.

    Guarantees: a QoS 1 message is acknowledged only after its handler has returned, so a process that is killed gets it
    again (at least once: handlers are idempotent). Handlers run one at a time, in the order of arrival. A handler that
    raises is called again, three times in all; then the message goes to the dead letters, and the next one is taken.
    After every connect: subscriptions first, then our own retained state again, then `on_connect` callbacks.
    Not promised: that a message arrives once only, or that messages of two writers keep an order.
    """

    @property
    def identity(self) -> Identity:
        """Who we are."""
        ...

    def on(self, channel: Channel[M], handler: Handler[M], **parameters: str) -> None:
        """Has `handler` called with every message of the channel; a parameter that is not given matches all.

        Call it before `run`; afterwards use `subscribe`.
        """
        ...

    async def subscribe(self, channel: Channel[M], handler: Handler[M], **parameters: str) -> None:
        """As `on`, while the bus runs; returns when the broker has confirmed.

        :raises FlopsError: FLOPS-P005 when the broker refuses
        """
        ...

    def on_connect(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Has `callback` awaited after every connect, when subscriptions and retained state stand."""
        ...

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Connects and stays connected until it is cancelled; started when it is connected for the first time.

        Reconnects for ever, with jittered backoff. Start it in a task group: `await group.start(bus.run)`.

        Cancelled, it says goodbye to the broker, so that the testament stays unsaid.

        :raises FlopsError: FLOPS-P005 when a subscription of `on` is refused, FLOPS-P006 when the broker cannot be
            reached at the start within `connect_timeout`, FLOPS-P011 when the broker refuses the login, FLOPS-P012
            when another process took our name
        """
        ...

    def compose(
        self,
        channel: Channel[M],
        message: M,
        *,
        cause: Envelope[Any] | None = None,
        **parameters: str,
    ) -> Outgoing:
        """The message in its envelope, with the next sequence of its topic. `cause` gives causation and correlation.

        :raises FlopsError: FLOPS-P001 when it is over 256 kB
        """
        ...

    async def send(self, outgoing: Outgoing) -> None:
        """Sends what was composed; for QoS 1, returns when the broker has it. Waits through a reconnect.

        :raises FlopsError: FLOPS-P004 when the broker refuses it, FLOPS-P006 when there is no broker for too long
        """
        ...

    async def publish(
        self, channel: Channel[M], message: M, *, cause: Envelope[Any] | None = None, **parameters: str
    ) -> None:
        """`send(compose(…))`; a retained message is also kept, and said again after every reconnect.

        :raises FlopsError: as `compose` and `send`
        """
        ...

    async def forget(self, channel: Channel[Any], **parameters: str) -> None:
        """Takes a retained state back: the broker drops it, and it is not said again.

        :raises FlopsError: as `send`
        """
        ...

    async def reply(self, request: Received[Any], answer: Reply) -> None:
        """Answers a request at its response topic, with its correlation data; does nothing where it named none.

        :raises FlopsError: FLOPS-P003 when the response topic is no inbox; as `send` else
        """
        ...

    async def request(self, channel: Channel[M], message: M, *, timeout: float = 10.0) -> Reply:
        """Asks a service and waits for its answer.

        :raises FlopsError: FLOPS-P008 when there is none in time; as `send` else
        """
        ...
