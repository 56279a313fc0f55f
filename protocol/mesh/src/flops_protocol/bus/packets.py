"""PUBLISH and PUBACK of MQTT 5 as bytes: the two packets that there are thousands of.

paho builds a dozen objects and two locks for each of them, which takes longer than everything that the bus does.
https://docs.oasis-open.org/mqtt/mqtt/v5.0/mqtt-v5.0.html, sections 3.3 and 3.4
"""

from __future__ import annotations

import struct

from flops_protocol.bus.connection import Packet
from flops_protocol.bus.interface import Outgoing
from flops_protocol.envelope import CONTENT_TYPE

PUBLISH, PUBACK = 0x30, 0x40

_SHORT = struct.Struct("!H")
_LONG = struct.Struct("!BI")
_EXPIRY, _CONTENT_TYPE, _RESPONSE_TOPIC, _CORRELATION, _SUBSCRIPTION = 0x02, 0x03, 0x08, 0x09, 0x0B
_SIZES = {0x01: 1, _EXPIRY: 4, 0x23: 2}
"""Bytes of the properties that have a fixed size: payload format, message expiry, topic alias."""
_STRINGS = {_CONTENT_TYPE: 1, _RESPONSE_TOPIC: 1, _CORRELATION: 1, 0x26: 2}
"""How many strings, with their lengths before them, the other properties are made of; 0x26 is a user property."""


def encode_publish(outgoing: Outgoing, token: int) -> bytes:
    """A PUBLISH with the packet identifier `token`, which counts for QoS 1 only."""
    properties = _property(_CONTENT_TYPE, CONTENT_TYPE.encode())
    if outgoing.expiry is not None:
        properties += _LONG.pack(_EXPIRY, outgoing.expiry)
    if outgoing.reply_to is not None:
        properties += _property(_RESPONSE_TOPIC, outgoing.reply_to.encode())
    if outgoing.correlation is not None:
        properties += _property(_CORRELATION, outgoing.correlation)
    topic = outgoing.topic.encode()
    head = _SHORT.pack(len(topic)) + topic
    if outgoing.qos:
        head += _SHORT.pack(token)
    head += _varint(len(properties)) + properties
    flags = PUBLISH | outgoing.qos << 1 | outgoing.retain
    return bytes((flags,)) + _varint(len(head) + len(outgoing.payload)) + head + outgoing.payload


def encode_puback(token: int) -> bytes:
    """The PUBACK that says: taken."""
    return b"\x40\x02" + _SHORT.pack(token)


def decode_publish(first: int, body: bytes) -> Packet:
    """A PUBLISH, from its first byte and what follows the remaining length.

    :raises ValueError: when it is malformed
    """
    try:
        end = 2 + _SHORT.unpack_from(body)[0]
        topic = body[2:end].decode()
        qos, token = first >> 1 & 3, 0
        if qos:
            token = _SHORT.unpack_from(body, end)[0]
            end += 2
        size, position = _read_varint(body, end)
        end = position + size
        if end > len(body):
            raise ValueError("the properties are longer than the packet")
        reply_to: str | None = None
        correlation: bytes | None = None
        subscriptions: tuple[int, ...] = ()
        while position < end:
            kind, position = body[position], position + 1
            if kind == _SUBSCRIPTION:
                number, position = _read_varint(body, position)
                subscriptions += (number,)
            elif kind in _SIZES:
                position += _SIZES[kind]
            else:
                for _ in range(_STRINGS[kind]):
                    start = position + 2
                    position = start + _SHORT.unpack_from(body, position)[0]
                if kind == _RESPONSE_TOPIC:
                    reply_to = body[start:position].decode()
                elif kind == _CORRELATION:
                    correlation = body[start:position]
        if position != end:
            raise ValueError("a property is longer than the properties")
    except (struct.error, IndexError, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"a malformed PUBLISH: {error!r}") from error
    return Packet(
        topic=topic,
        payload=body[end:],
        qos=qos,
        token=token,
        retained=bool(first & 1),
        reply_to=reply_to,
        correlation=correlation,
        subscriptions=subscriptions,
    )


def decode_puback(body: bytes) -> tuple[int, int]:
    """Packet identifier and reason code; 0x80 and above are refusals.

    :raises ValueError: when it is malformed
    """
    if len(body) < 2:
        raise ValueError("a malformed PUBACK")
    return _SHORT.unpack_from(body)[0], body[2] if len(body) > 2 else 0


def _property(kind: int, value: bytes) -> bytes:
    return bytes((kind,)) + _SHORT.pack(len(value)) + value


def _varint(number: int) -> bytes:
    """A variable byte integer (section 1.5.5)."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _read_varint(body: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while shift < 28:
        byte = body[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
        shift += 7
    raise ValueError("a variable byte integer of more than four bytes")
