"""PUBLISH and PUBACK as bytes, against paho's reading and writing of the same packets."""

import pytest
from flops_protocol.bus import Outgoing
from flops_protocol.bus.packets import decode_puback, decode_publish, encode_puback, encode_publish
from flops_protocol.envelope import CONTENT_TYPE
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt import _packet as reference
from paho.mqtt.client import MQTTv5
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers

# paho refuses U+FEFF, which MQTT 5 allows (1.5.4).
LETTERS = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"], exclude_characters="\ufeff")
TEXT = st.text(LETTERS, min_size=1, max_size=40)
OUTGOING = st.builds(
    Outgoing,
    topic=TEXT,
    payload=st.binary(max_size=400) | st.binary(min_size=20_000, max_size=20_001),
    qos=st.integers(0, 1),
    retain=st.booleans(),
    expiry=st.none() | st.integers(0, 2**32 - 1),
    correlation=st.none() | st.binary(max_size=50),
    reply_to=st.none() | TEXT,
)
TOKEN = st.integers(1, 65_535)


def split(packet: bytes) -> tuple[int, bytes]:
    """The first byte, and what follows the remaining length."""
    length, size = VariableByteIntegers.decode(packet[1:])  # type: ignore[no-untyped-call]
    body = packet[1 + size :]
    assert len(body) == length
    return packet[0], body


@given(OUTGOING, TOKEN)
def test_paho_reads_what_is_written(outgoing: Outgoing, token: int) -> None:
    first, body = split(encode_publish(outgoing, token))
    read = reference.decode_publish(first, bytearray(body), MQTTv5)
    assert bytes(read.topic).decode() == outgoing.topic
    assert bytes(read.payload) == outgoing.payload
    assert (read.qos, bool(read.retain), bool(read.dup)) == (outgoing.qos, outgoing.retain, False)
    assert not outgoing.qos or read.mid == token
    properties = read.properties
    assert properties is not None
    assert getattr(properties, "ContentType", None) == CONTENT_TYPE
    assert getattr(properties, "MessageExpiryInterval", None) == outgoing.expiry
    assert getattr(properties, "CorrelationData", None) == outgoing.correlation
    assert getattr(properties, "ResponseTopic", None) == outgoing.reply_to


@given(
    OUTGOING,
    TOKEN,
    st.lists(st.integers(1, 268_435_455), max_size=3),
    st.lists(st.tuples(TEXT, TEXT), max_size=2),
    st.booleans(),
)
def test_what_brokers_send_is_read(
    outgoing: Outgoing, token: int, subscriptions: list[int], user: list[tuple[str, str]], again: bool
) -> None:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.PayloadFormatIndicator = 1
    properties.ContentType = "text/plain"
    properties.TopicAlias = 7
    for name, value in (
        ("MessageExpiryInterval", outgoing.expiry),
        ("CorrelationData", outgoing.correlation),
        ("ResponseTopic", outgoing.reply_to),
    ):
        if value is not None:
            setattr(properties, name, value)
    for subscription in subscriptions:
        properties.SubscriptionIdentifier = subscription
    for pair in user:
        properties.UserProperty = pair
    topic = outgoing.topic.encode()
    body = len(topic).to_bytes(2, "big") + topic
    body += token.to_bytes(2, "big") if outgoing.qos else b""
    body += properties.pack() + outgoing.payload  # type: ignore[no-untyped-call]
    packet = decode_publish(0x30 | again << 3 | outgoing.qos << 1 | outgoing.retain, body)
    assert packet.topic == outgoing.topic
    assert packet.payload == outgoing.payload
    assert (packet.qos, packet.retained) == (outgoing.qos, outgoing.retain)
    assert packet.token == (token if outgoing.qos else 0)
    assert packet.correlation == outgoing.correlation
    assert packet.reply_to == outgoing.reply_to
    assert packet.subscriptions == tuple(subscriptions)


@given(st.integers(0x30, 0x3F), st.binary(max_size=60))
def test_a_malformed_publish_is_refused(first: int, body: bytes) -> None:
    try:
        packet = decode_publish(first, body)
    except ValueError:
        return
    assert len(packet.topic.encode()) + len(packet.payload) < len(body)


@given(OUTGOING, TOKEN, st.data())
def test_half_a_publish_is_refused_or_shorter(outgoing: Outgoing, token: int, data: st.DataObject) -> None:
    first, body = split(encode_publish(outgoing, token))
    cut = data.draw(st.integers(0, len(body) - len(outgoing.payload) - 1))
    with pytest.raises(ValueError, match=r"malformed|longer|more than four"):
        decode_publish(first, body[:cut])


@given(TOKEN)
def test_a_puback_is_read_and_written(token: int) -> None:
    first, body = split(encode_puback(token))
    read = reference.decode_puback(first, bytearray(body), MQTTv5)
    assert (read.mid, read.reason.value) == (token, 0)
    assert decode_puback(body) == (token, 0)
    assert decode_puback(body + b"\x87") == (token, 0x87)
    assert decode_puback(body + b"\x87\x00") == (token, 0x87)


@pytest.mark.parametrize("body", [b"", b"\x00"])
def test_a_malformed_puback_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="malformed"):
        decode_puback(body)
