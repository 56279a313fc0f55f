"""The bus on an MQTT 5 broker, through aiomqtt."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import aiomqtt
import anyio
from paho.mqtt.packettypes import PacketTypes

from flops_protocol.bus.base import ConnectedBus
from flops_protocol.bus.interface import Identity, Outgoing, Testament
from flops_protocol.bus.mqtt_connection import ATTEMPT_SECONDS, MqttConnection, properties_of
from flops_protocol.envelope import CONTENT_TYPE

WINDOW = 100
"""QoS 1 messages that the broker may send us before we have handled the first: the back-pressure."""


class Credential(NamedTuple):
    """What the broker knows us by."""

    user: str
    password: str

    @classmethod
    def read(cls, file: Path | None) -> Credential | None:
        """From a file that holds `user:password`; None where there is no file.

        :raises OSError: when it cannot be read
        """
        if file is None:
            return None
        user, _, password = file.read_text().strip().partition(":")
        return cls(user, password)


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
    async def _connect(self) -> AsyncIterator[MqttConnection]:
        delay = 0 if self._testament is None else self._testament.delay_seconds
        # The will is said when the session ends, so that a session shorter than its delay, or a clean start, says it
        # too early.
        expiry = max(self._session_seconds, delay)
        properties = properties_of(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = expiry
        properties.ReceiveMaximum = self._window
        user, password = self._credential or (None, None)
        connection = MqttConnection(
            self,
            self._host,
            self._port,
            receive_maximum=self._window,
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
        )
        try:
            await connection.open(self._url)
            yield connection
        finally:
            with anyio.CancelScope(shield=True):
                await connection.close()


def _parse(url: str) -> tuple[str, int, bool]:
    parts = urlsplit(url)
    ports = {"mqtt": 1883, "mqtts": 8883}
    if parts.scheme not in ports or not parts.hostname or parts.path.strip("/"):
        raise ValueError(f"{url} is no broker's address: mqtt://host:port or mqtts://host:port")
    return parts.hostname, parts.port or ports[parts.scheme], parts.scheme == "mqtts"


def _will(outgoing: Outgoing | None, delay: int) -> aiomqtt.Will | None:
    if outgoing is None:
        return None
    properties = properties_of(PacketTypes.WILLMESSAGE)
    properties.WillDelayInterval = delay
    properties.ContentType = CONTENT_TYPE
    properties.PayloadFormatIndicator = 1
    if outgoing.expiry is not None:
        properties.MessageExpiryInterval = outgoing.expiry
    return aiomqtt.Will(outgoing.topic, outgoing.payload, outgoing.qos, outgoing.retain, properties)
