"""The bus without its transport: what both buses do alike."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from flops_protocol.bus.connection import Connection, ConnectionFailed, Packet, Wish
from flops_protocol.bus.dispatch import Dispatcher
from flops_protocol.bus.inquiry import Inquiries
from flops_protocol.bus.interface import Handler, Identity, Outgoing, Received, Testament
from flops_protocol.bus.outbox import Outbox
from flops_protocol.channels import DEAD_LETTER, REPLY, ROOT, Channel
from flops_protocol.envelope import Envelope, decode, encode
from flops_protocol.errors import FlopsError
from flops_protocol.identifiers import MAX_SEGMENT, uuid7
from flops_protocol.messages._base import Message
from flops_protocol.messages.mesh import DeadLetter
from flops_protocol.messages.requests import Reply

log = logging.getLogger(__name__)

_Envelope = Envelope[Any]
"""Pydantic looks a generic up at every use, which takes longer than filling it."""

M = TypeVar("M", bound=Message)

HOLD_UP_SECONDS = 0.25
"""How long a full window and an unanswered message may last together until it counts as a hold-up."""
OWN_STATE_SECONDS = 0.2
"""How long a reconnect waits for the broker to send our own retained state."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Seconds between two attempts to connect: drawn between half and the whole of it, and the next is twice as long."""


class ConnectedBus(ABC):
    """The guarantees of `Bus`, over any transport that can `_connect`."""

    def __init__(
        self,
        identity: Identity,
        *,
        testament: Testament | None = None,
        connect_timeout: float = 10.0,
        send_timeout: float = 30.0,
    ) -> None:
        """`connect_timeout`: seconds until `run` gives up at its start; `send_timeout`: seconds that `send` waits."""
        self._identity = identity
        self._testament = testament
        self._connect_timeout = connect_timeout
        self._name = identity.client_id[-MAX_SEGMENT:].strip("-")
        self._sequences: dict[str, int] = {}
        self._state: dict[str, tuple[Channel[Any], Message, dict[str, str]]] = {}
        self._callbacks: list[Callable[[], Awaitable[None]]] = []
        self._outbox = Outbox(send_timeout)
        self._dispatcher = Dispatcher(self._name, self._bury)
        self._inquiries = Inquiries(self._name)
        self._connection: Connection | None = None
        self._own_state = None if testament is None else testament.channel.topic(**testament.parameters)
        self._own_state_seen = anyio.Event()
        self._superseded = anyio.Event()
        self._greeted = False
        self._running = False

    @property
    def identity(self) -> Identity:
        """Who we are."""
        return self._identity

    @property
    def connected(self) -> bool:
        """Whether there is a broker just now."""
        return self._connection is not None

    @abstractmethod
    def _connect(self) -> AbstractAsyncContextManager[Connection]:
        """A new connection, handshake done; leaving it says goodbye.

        Entering raises ConnectionFailed, or FlopsError FLOPS-P011 when the broker does not let us in at all.
        """

    def on(self, channel: Channel[M], handler: Handler[M], **parameters: str) -> None:
        """See `Bus.on`."""
        self._dispatcher.add(channel, handler, parameters)

    def on_connect(self, callback: Callable[[], Awaitable[None]]) -> None:
        """See `Bus.on_connect`."""
        self._callbacks.append(callback)

    async def subscribe(self, channel: Channel[M], handler: Handler[M], **parameters: str) -> None:
        """See `Bus.subscribe`."""
        await self._ask_for(self._dispatcher.add(channel, handler, parameters))

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """See `Bus.run`.

        :raises FlopsError: FLOPS-P005 when a subscription is refused, FLOPS-P006 when the broker cannot be reached at
            the start, FLOPS-P011 when it refuses the login, FLOPS-P012 when another process took our place
        """
        failure: FlopsError | None = None
        self._running = True
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._dispatcher.run)
                try:
                    await self._stay_connected(task_status)
                except FlopsError as error:
                    failure = error
                group.cancel_scope.cancel()
        finally:
            self._running = False
            self._outbox.close()
        if failure is not None:
            raise failure

    def compose(
        self, channel: Channel[M], message: M, *, cause: Envelope[Any] | None = None, **parameters: str
    ) -> Outgoing:
        """See `Bus.compose`."""
        return self._compose(channel, message, channel.topic(**parameters), cause)

    async def send(self, outgoing: Outgoing) -> None:
        """See `Bus.send`."""
        if not self._running:
            raise FlopsError("FLOPS-P006", f"{outgoing.topic}: the bus does not run")
        await self._outbox.send(outgoing)

    async def publish(
        self, channel: Channel[M], message: M, *, cause: Envelope[Any] | None = None, **parameters: str
    ) -> None:
        """See `Bus.publish`."""
        outgoing = self.compose(channel, message, cause=cause, **parameters)
        if channel.retain:
            # Noted before it is sent, in one go: a reconnect in between then says the newer state last.
            self._state[outgoing.topic] = (channel, message, parameters)
        try:
            await self.send(outgoing)
        except FlopsError as error:
            if error.body.code == "FLOPS-P004":
                self._state.pop(outgoing.topic, None)
            raise

    async def forget(self, channel: Channel[Any], **parameters: str) -> None:
        """See `Bus.forget`."""
        topic = channel.topic(**parameters)
        self._state.pop(topic, None)
        await self.send(Outgoing(topic, b"", qos=1, retain=True))

    async def reply(self, request: Received[Any], answer: Reply) -> None:
        """See `Bus.reply`."""
        if request.reply_to is None:
            return
        if REPLY.match(request.reply_to) is None:
            raise FlopsError("FLOPS-P003", f"{request.reply_to} is no inbox")
        outgoing = self._compose(REPLY, answer, request.reply_to, request.envelope)
        # Nobody else writes there, and nothing follows: without this, every request would leave a counter behind.
        self._sequences.pop(request.reply_to, None)
        await self.send(replace(outgoing, correlation=request.correlation))

    async def request(self, channel: Channel[M], message: M, *, timeout: float = 10.0) -> Reply:
        """See `Bus.request`."""
        try:
            with anyio.fail_after(timeout):
                if self._inquiries.first():
                    await self._ask_for(self._inquiries.wish)
                with self._inquiries.ask() as inquiry:
                    outgoing = self.compose(channel, message)
                    await self.send(replace(outgoing, reply_to=inquiry.topic, correlation=inquiry.correlation))
                    return await inquiry.answer()
        except TimeoutError:
            raise FlopsError("FLOPS-P008", f"{channel.name} was not answered in {timeout:g} s") from None

    def arrived(self, connection: Connection, packet: Packet) -> None:
        """The transport's word: a message is here."""
        if packet.topic == self._own_state:
            self._see_own_state(packet)
        if self._inquiries.answered(packet):
            if packet.qos:
                connection.acknowledge(packet)
            return
        self._dispatcher.put(connection, packet)
        if self._dispatcher.unacknowledged == connection.backlog:
            asyncio.get_running_loop().call_later(HOLD_UP_SECONDS, self._end_hold_up, connection)

    def settled(self, connection: Connection, token: int, refusal: str | None) -> None:
        """The transport's word: the broker took or refused a message."""
        self._outbox.settled(connection, token, refusal)

    def _end_hold_up(self, connection: Connection) -> None:
        """rumqttd sends nothing to a client that has 100 of its messages unacknowledged, not even the PUBACK that the
        client's handler waits for before it acknowledges: both would wait for ever."""
        backlog = connection.backlog
        if backlog is None or connection is not self._connection or not self._outbox.unanswered:
            return
        if self._dispatcher.unacknowledged >= backlog:
            log.warning("%s acknowledges early: the broker holds back its answers", self._name)
            self._dispatcher.hold_at_most(backlog // 2)

    async def _look_at_own_state(self, connection: Connection, topic: str) -> None:
        """Looks whether a newer process of our name has spoken, before our own state is said over its.

        Brokers close the older of two connections of one name without a word (Mosquitto 2.0, rumqttd), so that both
        would come back for ever, each in the other's place. The newer one's state, with its epoch, tells the older.
        """
        self._own_state_seen = anyio.Event()
        await self._subscribe(connection, [Wish(topic, 0)])
        with anyio.move_on_after(OWN_STATE_SECONDS):  # A broker that was wiped has nothing to show.
            await self._own_state_seen.wait()
        # rumqttd shows retained state to new subscriptions only; the next look must be one.
        connection.unsubscribe(topic)

    def _see_own_state(self, packet: Packet) -> None:
        with contextlib.suppress(FlopsError):
            if decode(packet.payload, Message).epoch > self._identity.epoch:
                self._superseded.set()
        self._own_state_seen.set()

    def _compose(
        self, channel: Channel[Any], message: Message, topic: str, cause: Envelope[Any] | None, *, count: bool = True
    ) -> Outgoing:
        sequence = self._sequences.get(topic, 0) + 1
        event = uuid7()
        envelope = _Envelope(
            id=event,
            source=self._identity.source,
            type=channel.type,
            subject=topic.removeprefix(f"{ROOT}/"),
            time=datetime.now(UTC),
            dataschema=channel.schema_id,
            sequence=sequence,
            epoch=self._identity.epoch,
            causationid=cause.id if cause is not None else None,
            correlationid=(cause.correlationid or cause.id) if cause is not None else None,
            traceparent=cause.traceparent if cause is not None else None,
            data=message,
        )
        payload = encode(envelope)
        if count:
            self._sequences[topic] = sequence
        return Outgoing(topic, payload, qos=channel.qos, retain=channel.retain, expiry=channel.expiry)

    def _last_will(self) -> Outgoing | None:
        """The testament in its envelope, as of now; it may never be said, and takes no number of the sequence."""
        if self._testament is None:
            return None
        will = self._testament
        return self._compose(will.channel, will.message, will.channel.topic(**will.parameters), None, count=False)

    async def _stay_connected(self, task_status: TaskStatus[None]) -> None:
        give_up = anyio.current_time() + self._connect_timeout
        pause = FIRST_PAUSE
        started = False

        def stands() -> None:
            nonlocal started, pause
            pause = FIRST_PAUSE
            if not started:
                started = True
                task_status.started()

        while True:
            try:
                async with self._connect() as connection:
                    reason = await self._serve(connection, stands)
                log.warning("%s lost the broker: %s", self._name, reason)
            except ConnectionFailed as error:
                if not started and anyio.current_time() >= give_up:
                    raise FlopsError("FLOPS-P006", str(error)) from error
                log.debug("%s cannot reach the broker: %s", self._name, error)
            # Without the jitter, everybody would come back at the same moment.
            await anyio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _serve(self, connection: Connection, stands: Callable[[], None]) -> str:
        failure: FlopsError | ConnectionFailed | None = None

        async def greet() -> None:
            nonlocal failure
            try:
                await self._greet(connection)
            except (FlopsError, ConnectionFailed) as error:
                failure = error
                group.cancel_scope.cancel()
            else:
                stands()

        async def give_way() -> None:
            nonlocal failure
            await self._superseded.wait()
            failure = FlopsError("FLOPS-P012", f"{self._name} was started again elsewhere")
            group.cancel_scope.cancel()

        reason = ""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(greet)
                group.start_soon(give_way)
                try:
                    reason = await connection.lost()
                except FlopsError as error:
                    failure = error
                group.cancel_scope.cancel()
        finally:
            self._connection = None
            self._outbox.shut()
        if failure is not None:
            raise failure
        return reason

    async def _greet(self, connection: Connection) -> None:
        """Subscriptions first, then what waits to be sent, then our own state again, then whoever wants to know."""
        self._dispatcher.reconnected(connection)
        self._connection = connection
        if self._own_state is not None and self._greeted:
            await self._look_at_own_state(connection, self._own_state)
        await self._subscribe(connection, [*self._dispatcher.wishes, *self._inquiries.wishes])
        self._greeted = True
        self._outbox.open(connection)
        async with anyio.create_task_group() as group:
            for channel, message, parameters in list(self._state.values()):
                group.start_soon(self._say_again, channel, message, parameters)
        for callback in self._callbacks:
            try:
                await callback()
            except Exception:
                log.exception("a callback after the connect failed")

    async def _say_again(self, channel: Channel[Any], message: Message, parameters: dict[str, str]) -> None:
        """A new envelope, for it is a new statement: whoever drops messages by their ID must not drop this one."""
        topic = channel.topic(**parameters)
        current = self._state.get(topic)
        if current is None or current[1] is not message:
            return  # It was overtaken by a newer state, which is on its way.
        try:
            await self.send(self._compose(channel, message, topic, None))
        except FlopsError:
            log.exception("own state was not taken")

    async def _ask_for(self, wish: Wish) -> None:
        if self._connection is not None:
            try:
                await self._subscribe(self._connection, [wish])
            except ConnectionFailed:
                log.debug("lost while subscribing to %s; the next connect does it", wish.filter)

    async def _subscribe(self, connection: Connection, wishes: list[Wish]) -> None:
        refusals = await connection.subscribe(wishes)
        refused = [f"{wish.filter}: {why}" for wish, why in zip(wishes, refusals, strict=True) if why is not None]
        if refused:
            raise FlopsError("FLOPS-P005", "; ".join(refused))

    async def _bury(self, letter: DeadLetter) -> None:
        await self.publish(DEAD_LETTER, letter, service=self._name)
