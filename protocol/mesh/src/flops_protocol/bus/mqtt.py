"""The bus on an MQTT 5 broker, through aiomqtt.

What the library leaves open is closed here: it acknowledges before a message is handled, takes no notice when the
broker refuses a message, and keeps waiting for what a lost connection will not bring any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiomqtt
import anyio
import paho.mqtt.client as paho
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from flops_protocol.bus.base import ConnectedBus
from flops_protocol.bus.connection import ConnectionFailed, Packet, Sink, Wish
from flops_protocol.bus.interface import Identity, Outgoing, Testament
from flops_protocol.envelope import CONTENT_TYPE
from flops_protocol.errors import FlopsError

WINDOW = 100
"""QoS 1 messages that the broker may send us before we have handled the first: the back-pressure."""
ATTEMPT_SECONDS = 5.0
"""How long one attempt to connect, or one SUBSCRIBE, waits for the broker's word."""
GOODBYE_SECONDS = 1.0
_REFUSED_LOGIN = {0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C}
_TAKEN_OVER = 0x8E


class Credential(NamedTuple):
    """What the broker knows us by."""

    user: str
    password: str


class MqttBus(ConnectedBus):
    """The bus on an MQTT 5 broker."""

    def __init__(
        self,
        url: str,
        identity: Identity,
        *,
        testament: Testament | None = None,
        credential: Credential | tuple[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        session_seconds: int = 0,
        window: int = WINDOW,
        connect_timeout: float = 10.0,
        send_timeout: float = 30.0,
        keepalive: int = 10,
    ) -> None:
        """`url` is `mqtt://host[:1883]`, or `mqtts://host[:8883]` with `tls` or the system's certificates.

        `session_seconds`: how long the broker keeps subscriptions and QoS 1 messages for us while we are away; a
        service that must not miss a message asks for an hour. `window`: how many messages may wait here to be handled.
        `keepalive`: seconds; a hung broker or a dead process is noticed after about twice as long.

        :raises ValueError: when the URL is none of these
        """
        super().__init__(identity, testament=testament, connect_timeout=connect_timeout, send_timeout=send_timeout)
        self._url = url
        self._host, self._port, secure = _parse(url)
        self._tls = (tls or ssl.create_default_context()) if secure else None
        self._credential = credential
        self._session_seconds = session_seconds
        self._window = window
        self._keepalive = keepalive

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[_MqttConnection]:
        delay = 0 if self._testament is None else self._testament.delay_seconds
        # The will is said when the session ends, so that a session shorter than its delay, or a clean start, says it
        # too early.
        expiry = max(self._session_seconds, delay)
        properties = _properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = expiry
        properties.ReceiveMaximum = self._window
        user, password = self._credential or (None, None)
        connection = _MqttConnection(
            self,
            self._host,
            self._port,
            username=user,
            password=password,
            identifier=self.identity.client_id,
            protocol=aiomqtt.ProtocolVersion.V5,
            will=_will(self._last_will(), delay),
            clean_start=expiry == 0,
            keepalive=self._keepalive,
            properties=properties,
            timeout=ATTEMPT_SECONDS,
            tls_context=self._tls,
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )
        try:
            # Connecting runs in a thread that cannot be cancelled; left alone, it would open a connection that nobody
            # knows of.
            with anyio.CancelScope(shield=True):
                await connection.open(self._url)
            yield connection
        finally:
            with anyio.CancelScope(shield=True):
                await connection.close()


class _MqttConnection(aiomqtt.Client):
    """One connection. Messages and acknowledgements go straight to the bus, without a queue and a task each."""

    def __init__(self, sink: Sink, host: str, port: int, **options: Any) -> None:
        super().__init__(host, port, **options)
        self._sink = sink
        self._reason: ReasonCode | None = None
        self._flush_due = False
        self.resumed = False
        self.window = 65_535
        self._client.manual_ack_set(True)
        # The outbox keeps to the broker's window; paho's own is fixed at 20, and would only get in the way.
        self._client.max_inflight_messages_set(0)
        self._client.connect_timeout = ATTEMPT_SECONDS
        # A service subscribes to a dozen filters at once; that is no reason for a warning.
        self.pending_calls_threshold = 1000

    async def open(self, url: str) -> None:
        """Connects.

        :raises ConnectionFailed: when there is no answer
        :raises FlopsError: FLOPS-P011 when the broker does not let us in
        """
        try:
            await self.__aenter__()
        except MqttConnectError as error:
            if isinstance(error.rc, ReasonCode) and error.rc.value in _REFUSED_LOGIN:
                raise FlopsError("FLOPS-P011", f"{url}: {error.rc}") from error
            raise ConnectionFailed(f"{url}: {error}") from error
        except aiomqtt.MqttError as error:
            raise ConnectionFailed(f"{url}: {error}") from error

    async def close(self) -> None:
        """Says goodbye, for at most a second; then the socket is closed whatever the broker says."""
        if self._connected.done() and not self._disconnected.done():
            self._client.disconnect()
            with anyio.move_on_after(GOODBYE_SECONDS), contextlib.suppress(aiomqtt.MqttError):
                await asyncio.shield(self._disconnected)
        # aiomqtt leaves the socket open, and in the event loop, when it fails halfway.
        self._client._sock_close()  # noqa: SLF001
        if self._misc_task is not None:
            self._misc_task.cancel()
        for future in (self._connected, self._disconnected):
            if future.done() and not future.cancelled():
                future.exception()  # Looked at, so that asyncio does not complain that nobody did.

    def publish(self, outgoing: Outgoing) -> int | None:  # type: ignore[override]
        """See `Connection.publish`."""
        if self._disconnected.done():
            return None
        info = self._client.publish(
            outgoing.topic, outgoing.payload, outgoing.qos, outgoing.retain, _publish_properties(outgoing)
        )
        if info.rc != paho.MQTT_ERR_SUCCESS:
            return None
        return info.mid if outgoing.qos else 0

    def acknowledge(self, packet: Packet) -> None:
        """See `Connection.acknowledge`."""
        if not self._disconnected.done():
            self._client.ack(packet.token, packet.qos)

    async def subscribe(self, wishes: Sequence[Wish]) -> list[str | None]:  # type: ignore[override]
        """See `Connection.subscribe`."""
        refusals: list[str | None] = [None] * len(wishes)
        failure: ConnectionFailed | None = None

        async def one(index: int, wish: Wish) -> None:
            nonlocal failure
            properties = _properties(PacketTypes.SUBSCRIBE)
            properties.SubscriptionIdentifier = wish.identifier
            try:
                codes = await super(_MqttConnection, self).subscribe(
                    wish.filter, options=SubscribeOptions(qos=wish.qos), properties=properties
                )
            except aiomqtt.MqttError as error:
                failure = ConnectionFailed(f"subscribing to {wish.filter}: {error}")
                return
            code = codes[0]
            if isinstance(code, ReasonCode) and code.is_failure:
                refusals[index] = str(code)

        async with anyio.create_task_group() as group:
            for index, wish in enumerate(wishes):
                group.start_soon(one, index, wish)
        if failure is not None:
            raise failure
        return refusals

    async def lost(self) -> str:
        """See `Connection.lost`."""
        try:
            await asyncio.shield(self._disconnected)
        except aiomqtt.MqttError as error:
            reason = str(error)
        except OSError as error:
            reason = str(error)
        else:
            reason = "disconnected"
        if self._reason is not None and self._reason.value == _TAKEN_OVER:
            raise FlopsError("FLOPS-P012", f"{self.identifier} connected from elsewhere")
        return reason

    def _on_connect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.ConnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        self.resumed = flags.session_present
        self.window = getattr(properties, "ReceiveMaximum", 65_535)
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.DisconnectFlags,
        reason_code: ReasonCode,
        properties: Properties | None = None,
    ) -> None:
        self._reason = reason_code
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:  # noqa: ARG002
        properties = message.properties
        self._sink.arrived(
            self,
            Packet(
                topic=message.topic,
                payload=bytes(message.payload),
                qos=message.qos,
                token=message.mid,
                retained=message.retain,
                reply_to=getattr(properties, "ResponseTopic", None),
                correlation=getattr(properties, "CorrelationData", None),
                subscriptions=tuple(getattr(properties, "SubscriptionIdentifier", ())),
            ),
        )

    def _on_publish(
        self,
        client: paho.Client,  # noqa: ARG002
        userdata: Any,  # noqa: ARG002
        mid: int,
        reason_code: ReasonCode,
        properties: Properties,  # noqa: ARG002
    ) -> None:
        self._sink.settled(self, mid, str(reason_code) if reason_code.is_failure else None)


def _properties(packet: int) -> Properties:
    return Properties(packet)  # type: ignore[no-untyped-call]


def _parse(url: str) -> tuple[str, int, bool]:
    parts = urlsplit(url)
    ports = {"mqtt": 1883, "mqtts": 8883}
    if parts.scheme not in ports or not parts.hostname or parts.path.strip("/"):
        raise ValueError(f"{url} is no broker's address: mqtt://host:port or mqtts://host:port")
    return parts.hostname, parts.port or ports[parts.scheme], parts.scheme == "mqtts"


def _will(outgoing: Outgoing | None, delay: int) -> aiomqtt.Will | None:
    if outgoing is None:
        return None
    properties = _properties(PacketTypes.WILLMESSAGE)
    properties.WillDelayInterval = delay
    properties.ContentType = CONTENT_TYPE
    properties.PayloadFormatIndicator = 1
    if outgoing.expiry is not None:
        properties.MessageExpiryInterval = outgoing.expiry
    return aiomqtt.Will(outgoing.topic, outgoing.payload, outgoing.qos, outgoing.retain, properties)


def _publish_properties(outgoing: Outgoing) -> Properties:
    properties = _properties(PacketTypes.PUBLISH)
    properties.ContentType = CONTENT_TYPE
    if outgoing.expiry is not None:
        properties.MessageExpiryInterval = outgoing.expiry
    if outgoing.correlation is not None:
        properties.CorrelationData = outgoing.correlation
    if outgoing.reply_to is not None:
        properties.ResponseTopic = outgoing.reply_to
    return properties
