"""One connection to an MQTT 5 broker, through aiomqtt.

What the library leaves open is closed here: it acknowledges before a message is handled, takes no notice when the
broker refuses a message, keeps waiting for what a lost connection will not bring any more, and spends a task, a queue
and five system calls on each message.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Sequence
from typing import Any

import aiomqtt
import anyio
import paho.mqtt.client as paho
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from flops_protocol.bus.connection import ConnectionFailed, Packet, Sink, Wish
from flops_protocol.bus.interface import Outgoing
from flops_protocol.bus.packets import PUBACK, PUBLISH, decode_puback, decode_publish, encode_puback, encode_publish
from flops_protocol.errors import FlopsError

ATTEMPT_SECONDS = 5.0
"""How long one attempt to connect, or one SUBSCRIBE, waits for the broker's word."""
GOODBYE_SECONDS = 1.0
_REFUSED_LOGIN = {0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C}
_TAKEN_OVER = 0x8E
_REFUSAL = 0x80
_RUMQTTD_WINDOW = 100
_MOST_AT_A_TIME = 1000
"""Messages under way to the broker, where it sets no limit of its own."""
_CHUNK = 65_536
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
"""Linux waits 40 ms to acknowledge a segment alone, and a broker that does not set TCP_NODELAY (rumqttd; Mosquitto by
default) waits for that before it sends the next: every answer to a request would take 40 ms. The kernel takes the
option back after a while, so that it is set at every read."""
_BURST = 200
"""Packets that are read in a row before others get their turn in the event loop."""


class MqttConnection(aiomqtt.Client):
    """One connection. Messages and acknowledgements go straight to the bus, without a queue and a task each."""

    def __init__(self, sink: Sink, host: str, port: int, *, receive_maximum: int, **options: Any) -> None:
        super().__init__(host, port, **options)
        self._receive_maximum = receive_maximum
        self._sink = sink
        self._reason: ReasonCode | None = None
        self._unread = memoryview(b"")
        self._unsent = bytearray()
        self.resumed = False
        self.window = _MOST_AT_A_TIME
        self.backlog: int | None = None
        # paho asks the socket for one byte, then for another, then for the rest: four system calls a packet.
        self._client._sock_recv = self._receive  # type: ignore[assignment,method-assign]  # noqa: SLF001
        self._client._packet_handle = self._handle_packet  # type: ignore[method-assign]  # noqa: SLF001
        self._client.connect_timeout = ATTEMPT_SECONDS
        # A service subscribes to a dozen filters at once; that is no reason for a warning.
        self.pending_calls_threshold = 1000

    async def open(self, url: str) -> None:
        """Connects.

        :raises ConnectionFailed: when there is no answer
        :raises FlopsError: FLOPS-P011 when the broker does not let us in
        """
        try:
            # It runs in a thread that cannot be cancelled: left alone, it would open a connection nobody knows of.
            with anyio.CancelScope(shield=True):
                await self._loop.run_in_executor(None, self._client_connect)
            sock = self._client.socket()
            if isinstance(sock, socket.socket):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with anyio.fail_after(ATTEMPT_SECONDS):
                await self._connected
        except MqttConnectError as error:
            if isinstance(error.rc, ReasonCode) and error.rc.value in _REFUSED_LOGIN:
                raise FlopsError("FLOPS-P011", f"{url}: {error.rc}") from error
            raise ConnectionFailed(f"{url}: {error}") from error
        except TimeoutError as error:
            raise ConnectionFailed(f"{url}: no answer in {ATTEMPT_SECONDS:g} s") from error
        except (aiomqtt.MqttError, OSError) as error:
            raise ConnectionFailed(f"{url}: {error}") from error

    async def close(self) -> None:
        """Says goodbye, for at most a second; then the socket is closed whatever the broker says."""
        if self._connected.done() and not self._disconnected.done():
            self._flush()
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
        token = self._client._mid_generate() if outgoing.qos else 0  # noqa: SLF001
        self._send(encode_publish(outgoing, token))
        return token

    def acknowledge(self, packet: Packet) -> None:
        """See `Connection.acknowledge`."""
        if not self._disconnected.done():
            self._send(encode_puback(packet.token))

    async def subscribe(self, wishes: Sequence[Wish]) -> list[str | None]:  # type: ignore[override]
        """See `Connection.subscribe`."""
        refusals: list[str | None] = [None] * len(wishes)
        failure: ConnectionFailed | None = None

        async def one(index: int, wish: Wish) -> None:
            nonlocal failure
            properties = properties_of(PacketTypes.SUBSCRIBE)
            properties.SubscriptionIdentifier = wish.identifier
            try:
                codes = await super(MqttConnection, self).subscribe(
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

    def unsubscribe(self, topic_filter: str) -> None:  # type: ignore[override]
        """See `Connection.unsubscribe`. Does not wait: rumqttd does not always answer."""
        self._client.unsubscribe(topic_filter)

    async def lost(self) -> str:
        """See `Connection.lost`."""
        try:
            await asyncio.shield(self._disconnected)
        except aiomqtt.MqttError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - what `_break` was given
            reason = repr(error)
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
        self.window = min(getattr(properties, "ReceiveMaximum", _MOST_AT_A_TIME), _MOST_AT_A_TIME)
        # Mosquitto names its window; rumqttd, the one broker known to hold its answers back, does not.
        self.backlog = None if hasattr(properties, "ReceiveMaximum") else min(self._receive_maximum, _RUMQTTD_WINDOW)
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
        if not self._connected.done():
            # aiomqtt would wait for the timeout.
            self._connected.set_exception(aiomqtt.MqttError("the connection was closed before the broker answered"))
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    def _handle_packet(self) -> MQTTErrorCode:
        """What paho does with a packet that is complete."""
        packet = self._client._in_packet  # noqa: SLF001
        first = packet["command"]
        if first & 0xF0 == PUBLISH:
            self._sink.arrived(self, decode_publish(first, bytes(packet["packet"])))
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        if first & 0xF0 == PUBACK:
            token, reason = decode_puback(bytes(packet["packet"]))
            refusal = None if reason < _REFUSAL else str(ReasonCode(PacketTypes.PUBACK, identifier=reason))
            self._sink.settled(self, token, refusal)
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        return paho.Client._packet_handle(self._client)  # noqa: SLF001

    def _on_unsubscribe(self, *_: Any) -> None:
        """Nobody waits for it."""

    def _on_socket_open(self, client: paho.Client, userdata: Any, sock: Any) -> None:  # noqa: ARG002
        # Called in the thread that connects.
        self._loop.call_soon_threadsafe(self._attach, sock.fileno())

    def _attach(self, descriptor: int) -> None:
        if self._client.socket() is not None:
            self._loop.add_reader(descriptor, self._read)
            self._misc_task = self._loop.create_task(self._misc_loop())

    def _on_socket_register_write(self, client: paho.Client, userdata: Any, sock: Any) -> None:  # noqa: ARG002
        # Everything that is queued in this turn of the loop goes out at its end, without asking whether it may.
        if self._connected.done():
            self._loop.call_soon(self._write)
        else:
            self._loop.call_soon_threadsafe(self._write)

    def _on_socket_unregister_write(self, client: paho.Client, userdata: Any, sock: Any) -> None:  # noqa: ARG002
        if sock.fileno() >= 0:
            self._loop.remove_writer(sock.fileno())

    def _send(self, packet: bytes) -> None:
        """Whatever is sent in one turn of the event loop goes out together, in one system call."""
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent += packet

    def _flush(self) -> None:
        if self._unsent:
            packets, self._unsent = bytes(self._unsent), bytearray()
            # As far as paho is concerned, this is one packet that nobody waits for.
            self._client._packet_queue(PUBLISH, packets, 0, 1)  # noqa: SLF001

    def _write(self) -> None:
        try:
            self._client.loop_write()
        except Exception as error:  # noqa: BLE001 - whatever it is, this connection is no good any more
            self._break(error)
        sock = self._client.socket()
        if sock is not None and self._client.want_write():
            self._loop.add_writer(sock.fileno(), self._write)

    def _read(self) -> None:
        try:
            for _ in range(_BURST):
                self._client.loop_read()
                sock = self._client.socket()
                if sock is None:
                    return
                if not self._unread and not (isinstance(sock, ssl.SSLSocket) and sock.pending()):
                    return
        except Exception as error:  # noqa: BLE001 - as above
            self._break(error)
        else:
            self._loop.call_soon(self._read)

    def _receive(self, count: int) -> bytes:
        """Up to `count` bytes, from what was read ahead."""
        if not self._unread:
            sock = self._client.socket()
            if sock is None:
                raise ConnectionError("the connection is closed")
            try:
                self._unread = memoryview(sock.recv(_CHUNK))
                if _QUICKACK is not None and isinstance(sock, socket.socket):
                    sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
                raise BlockingIOError from error
        taken, self._unread = self._unread[:count], self._unread[count:]
        return bytes(taken)

    def _break(self, error: Exception) -> None:
        if not self._disconnected.done():
            self._disconnected.set_exception(error)


def properties_of(packet: int) -> Properties:
    """The properties of a kind of packet, none set."""
    return Properties(packet)  # type: ignore[no-untyped-call]
