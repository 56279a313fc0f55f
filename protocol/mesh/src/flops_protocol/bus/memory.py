"""The bus without a broker process: the same behaviour in one process, for tests and for trying things out."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from flops_protocol.bus.base import ConnectedBus
from flops_protocol.bus.connection import ConnectionFailed, Packet, Sink, Wish
from flops_protocol.bus.interface import Identity, Outgoing, Testament
from flops_protocol.errors import FlopsError

WINDOW = 100
"""QoS 1 messages that a client may have unacknowledged, in each direction."""


@dataclass
class _Session:
    client: str
    wishes: dict[str, Wish] = field(default_factory=dict)
    waiting: deque[Packet] = field(default_factory=deque)
    flying: dict[int, Packet] = field(default_factory=dict)
    connection: MemoryConnection | None = None
    end: asyncio.TimerHandle | None = None
    will: asyncio.TimerHandle | None = None
    tokens: int = 0


class MemoryBroker:
    """Retained state, sessions, last wills and QoS 1, without bytes on a wire.

    A test may be nasty with it: `stop` and `start` (everything forgotten), `cut` (a connection breaks),
    `refuse_publish` and `refuse_subscribe` (access rules: called with client ID and topic or filter, True refuses).
    """

    def __init__(
        self,
        *,
        refuse_publish: Callable[[str, str], bool] | None = None,
        refuse_subscribe: Callable[[str, str], bool] | None = None,
    ) -> None:
        """A broker that runs."""
        self.retained: dict[str, Outgoing] = {}
        self.running = True
        self.refuse_publish = refuse_publish or (lambda _client, _topic: False)
        self.refuse_subscribe = refuse_subscribe or (lambda _client, _filter: False)
        self._sessions: dict[str, _Session] = {}

    @property
    def clients(self) -> list[str]:
        """The clients that are connected."""
        return [client for client, session in self._sessions.items() if session.connection is not None]

    def stop(self) -> None:
        """Dies as a broker without persistence does: connections break, sessions and retained state are gone."""
        self.running = False
        sessions, self._sessions = self._sessions, {}
        self.retained.clear()
        for session in sessions.values():
            for timer in (session.end, session.will):
                if timer is not None:
                    timer.cancel()
            if session.connection is not None:
                session.connection.break_off("the broker stopped")

    def start(self) -> None:
        """Runs again, empty."""
        self.running = True

    def cut(self, client: str) -> None:
        """Breaks a client's connection without a goodbye: its last will follows, its session stays as long as asked."""
        session = self._sessions[client]
        if session.connection is not None:
            self._part(session, session.connection, "the connection was cut", goodbye=False)

    def connect(self, connection: MemoryConnection) -> bool:
        """Takes a connection; whether its session was still there.

        :raises ConnectionFailed: when the broker does not run
        """
        if not self.running:
            raise ConnectionFailed("the memory broker does not run")
        client = connection.client
        session = self._sessions.get(client)
        if session is not None and session.connection is not None:
            older = session.connection
            self._part(session, older, "", goodbye=True)
            older.taken_over()
        if session is not None:
            for timer in (session.end, session.will):
                if timer is not None:
                    timer.cancel()
            session.end = session.will = None
        resumed = session is not None and not connection.clean and client in self._sessions
        if session is None or not resumed:
            session = self._sessions[client] = _Session(client)
        session.connection = connection
        session.waiting.extendleft(reversed(session.flying.values()))
        session.flying.clear()
        self._deliver(session)
        return resumed

    def disconnect(self, connection: MemoryConnection) -> None:
        """A goodbye: no last will."""
        session = self._sessions.get(connection.client)
        if session is not None and session.connection is connection:
            self._part(session, connection, "said goodbye", goodbye=True)

    def subscribe(self, connection: MemoryConnection, wish: Wish) -> str | None:
        """Adds a subscription and sends the retained state that it matches; or says why not."""
        session = self._sessions.get(connection.client)
        if session is None or session.connection is not connection:
            return None
        if self.refuse_subscribe(connection.client, wish.filter):
            return "Not authorized"
        session.wishes[wish.filter] = wish
        for outgoing in self.retained.values():
            if _matches(wish.filter, outgoing.topic):
                self._queue(session, outgoing, wish, retained=True)
        self._deliver(session)
        return None

    def unsubscribe(self, connection: MemoryConnection, topic_filter: str) -> None:
        """Ends a subscription."""
        session = self._sessions.get(connection.client)
        if session is not None and session.connection is connection:
            session.wishes.pop(topic_filter, None)

    def publish(self, client: str, outgoing: Outgoing) -> str | None:
        """Passes a message on; or says why not."""
        if self.refuse_publish(client, outgoing.topic):
            return "Not authorized"
        if outgoing.retain:
            if outgoing.payload:
                self.retained[outgoing.topic] = outgoing
            else:
                self.retained.pop(outgoing.topic, None)
        for session in list(self._sessions.values()):
            for wish in session.wishes.values():
                if _matches(wish.filter, outgoing.topic):
                    self._queue(session, outgoing, wish, retained=False)
            self._deliver(session)
        return None

    def acknowledge(self, connection: MemoryConnection, token: int) -> None:
        """A message is done."""
        session = self._sessions.get(connection.client)
        if session is not None and session.connection is connection:
            session.flying.pop(token, None)
            self._deliver(session)

    def _queue(self, session: _Session, outgoing: Outgoing, wish: Wish, *, retained: bool) -> None:
        qos = min(outgoing.qos, wish.qos)
        if qos == 0 and session.connection is None:
            return
        session.tokens += 1
        session.waiting.append(
            Packet(
                topic=outgoing.topic,
                payload=outgoing.payload,
                qos=qos,
                token=session.tokens,
                retained=retained,
                reply_to=outgoing.reply_to,
                correlation=outgoing.correlation,
                subscriptions=(wish.identifier,),
            )
        )

    def _deliver(self, session: _Session) -> None:
        connection = session.connection
        if connection is None:
            return
        while session.waiting and (session.waiting[0].qos == 0 or len(session.flying) < WINDOW):
            packet = session.waiting.popleft()
            if packet.qos:
                session.flying[packet.token] = packet
            connection.deliver(packet)

    def _part(self, session: _Session, connection: MemoryConnection, reason: str, *, goodbye: bool) -> None:
        session.connection = None
        loop = asyncio.get_running_loop()
        if not goodbye and connection.will is not None:
            # The will waits for its delay, but not longer than the session lasts (MQTT 5, section 3.1.3.2.2).
            delay = min(connection.will_delay, connection.session_seconds)
            session.will = loop.call_later(delay, self.publish, session.client, connection.will)
        session.end = loop.call_later(connection.session_seconds, self._forget, session)
        if reason:
            connection.break_off(reason)

    def _forget(self, session: _Session) -> None:
        if self._sessions.get(session.client) is session and session.connection is None:
            del self._sessions[session.client]


class MemoryConnection:
    """One connection to a memory broker."""

    def __init__(
        self,
        broker: MemoryBroker,
        client: str,
        sink: Sink,
        *,
        clean: bool,
        session_seconds: float,
        will: Outgoing | None,
        will_delay: float,
    ) -> None:
        """Not connected yet: `MemoryBroker.connect` does that."""
        self.client = client
        self.clean = clean
        self.session_seconds = session_seconds
        self.will = will
        self.will_delay = will_delay
        self.resumed = False
        self.window = WINDOW
        self.backlog: int | None = None
        self._broker = broker
        self._sink = sink
        self._tokens = 0
        self._loop = asyncio.get_running_loop()
        self._lost: asyncio.Future[str] = self._loop.create_future()
        self._taken = False

    def deliver(self, packet: Packet) -> None:
        """Has the packet arrive, in a later turn of the event loop, as from a socket."""
        self._loop.call_soon(self._arrive, packet)

    def break_off(self, reason: str) -> None:
        """The connection is lost."""
        if not self._lost.done():
            self._lost.set_result(reason)

    def taken_over(self) -> None:
        """The connection is lost to a newer one of the same client ID."""
        self._taken = True
        self.break_off("taken over")

    def publish(self, outgoing: Outgoing) -> int | None:
        """See `Connection.publish`."""
        if self._lost.done():
            return None
        self._tokens += 1
        self._loop.call_soon(self._pass_on, outgoing, self._tokens)
        return self._tokens if outgoing.qos else 0

    def acknowledge(self, packet: Packet) -> None:
        """See `Connection.acknowledge`."""
        if not self._lost.done():
            self._broker.acknowledge(self, packet.token)

    async def subscribe(self, wishes: Sequence[Wish]) -> list[str | None]:
        """See `Connection.subscribe`."""
        await asyncio.sleep(0)
        if self._lost.done():
            raise ConnectionFailed(self._lost.result())
        return [self._broker.subscribe(self, wish) for wish in wishes]

    def unsubscribe(self, topic_filter: str) -> None:
        """See `Connection.unsubscribe`."""
        self._broker.unsubscribe(self, topic_filter)

    async def lost(self) -> str:
        """See `Connection.lost`."""
        reason = await asyncio.shield(self._lost)
        if self._taken:
            raise FlopsError("FLOPS-P012", f"{self.client} connected from elsewhere")
        return reason

    def _arrive(self, packet: Packet) -> None:
        if not self._lost.done():
            self._sink.arrived(self, packet)

    def _pass_on(self, outgoing: Outgoing, token: int) -> None:
        if self._lost.done():
            return
        refusal = self._broker.publish(self.client, outgoing)
        if outgoing.qos:
            self._loop.call_soon(self._sink.settled, self, token, refusal)


class MemoryBus(ConnectedBus):
    """The bus on a memory broker."""

    def __init__(
        self,
        broker: MemoryBroker,
        identity: Identity,
        testament: Testament | None = None,
        *,
        session_seconds: float = 0,
        connect_timeout: float = 10.0,
        send_timeout: float = 30.0,
    ) -> None:
        """`session_seconds`: how long the broker keeps subscriptions and QoS 1 messages for us while we are away."""
        super().__init__(identity, testament=testament, connect_timeout=connect_timeout, send_timeout=send_timeout)
        self._broker = broker
        self._session_seconds = session_seconds

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[MemoryConnection]:
        delay = 0 if self._testament is None else self._testament.delay_seconds
        connection = MemoryConnection(
            self._broker,
            self.identity.client_id,
            self,
            clean=self._session_seconds == 0 and delay == 0,
            session_seconds=max(self._session_seconds, delay),
            will=self._last_will(),
            will_delay=delay,
        )
        connection.resumed = self._broker.connect(connection)
        try:
            yield connection
        finally:
            self._broker.disconnect(connection)


def _matches(topic_filter: str, topic: str) -> bool:
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted, levels = wanted[:-1], levels[: len(wanted) - 1]
    return len(wanted) == len(levels) and all(a in ("+", b) for a, b in zip(wanted, levels, strict=True))
