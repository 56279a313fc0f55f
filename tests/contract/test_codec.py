"""Encoding: every message survives the way there and back, and what must not travel does not."""

import json
import math
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from flops_protocol.channels import BUILD_PROGRESS, BUILDER_LOG, CHANNELS, REPLY, Channel
from flops_protocol.describe import Schema, resolve
from flops_protocol.envelope import MAX_BYTES, decode, encode
from flops_protocol.errors import CATALOGUE, FlopsError
from flops_protocol.identifiers import MAX_SEGMENT
from flops_protocol.messages.actors import BuildProgress
from flops_protocol.messages.project import RoundMetrics
from flops_protocol.schemas.messages import message_schemas
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

SCHEMAS = message_schemas()
SAFE = 2**53
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-SAFE, SAFE) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
NAME = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=MAX_SEGMENT).filter(
    lambda text: not text.startswith("-") and not text.endswith("-")
)
PATTERNS = {
    r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$": NAME,
    r"^[0-9a-f]{40}([0-9a-f]{24})?$": st.binary(min_size=20, max_size=20).map(bytes.hex)
    | st.binary(min_size=32, max_size=32).map(bytes.hex),
    r"^sha256:[0-9a-f]{64}$": st.binary(min_size=32, max_size=32).map(lambda digest: f"sha256:{digest.hex()}"),
    r"^3\.[0-9]+$": st.integers(0, 99).map(lambda minor: f"3.{minor}"),
    r"^FLOPS-[SBDTP][0-9]{3}$": st.sampled_from(sorted(CATALOGUE)),
}
"""Strings by the pattern that they match: hypothesis takes minutes to find them by the pattern alone."""


def values(root: Schema, node: Schema) -> st.SearchStrategy[Any]:
    """Whatever a schema of ours allows."""
    node = resolve(root, node)
    if "const" in node:
        return st.just(node["const"])
    if "enum" in node:
        return st.sampled_from(node["enum"])
    if "anyOf" in node:
        return st.one_of([values(root, choice) for choice in node["anyOf"]])
    match node.get("type"):
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(node.get("minimum", -SAFE), node.get("maximum", SAFE))
        case "number":
            low = node.get("minimum", node.get("exclusiveMinimum"))
            return st.floats(
                low,
                node.get("maximum"),
                exclude_min="exclusiveMinimum" in node,
                allow_nan=False,
                allow_infinity=False,
            )
        case "string" if node.get("format") == "date-time":
            return st.datetimes(timezones=st.just(UTC)).map(lambda time: time.isoformat())
        case "string" if "pattern" in node:
            return PATTERNS[node["pattern"]]
        case "string":
            return st.text(
                st.characters(codec="utf-8"),
                min_size=node.get("minLength", 0),
                max_size=max(node.get("minLength", 0), min(8, node.get("maxLength", 8))),
            )
        case "array":
            least = node.get("minItems", 0)
            return st.lists(values(root, node["items"]), min_size=least, max_size=max(least, 2))
        case "object" if "properties" in node:
            needed = node.get("required", [])
            parts = {name: values(root, part) for name, part in node["properties"].items()}
            return st.fixed_dictionaries(
                {name: part for name, part in parts.items() if name in needed},
                optional={name: part for name, part in parts.items() if name not in needed},
            )
        case "object" if isinstance(node.get("additionalProperties"), dict):
            return st.dictionaries(TEXT, values(root, node["additionalProperties"]), max_size=2)
        case "object" if "patternProperties" in node:
            ((pattern, part),) = node["patternProperties"].items()
            return st.dictionaries(PATTERNS[pattern], values(root, part), max_size=2)
        case "object":
            return st.dictionaries(TEXT, ANY, max_size=2)
        case _:
            return ANY


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: channel.name)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_message_survives_the_way_there_and_back(channel: Channel[Any], data: st.DataObject) -> None:
    schema = SCHEMAS[channel.type]
    document = data.draw(values(schema, schema))
    envelope = decode(json.dumps(document).encode(), channel.model)
    again = decode(encode(envelope), channel.model)
    assert again == envelope
    assert encode(again) == encode(envelope)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_write_is_refused(number: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        RoundMetrics(round=1, loss=number, accuracy=0.5)
    with pytest.raises(ValidationError, match="finite"):
        RoundMetrics(round=1, loss=0.5, accuracy=0.5, more={"f1": number})
    with pytest.raises(ValidationError, match="finite"):
        BuildProgress(project="p", phase="clone", percent=1, estimate_seconds=number)


@pytest.mark.parametrize("word", [b"NaN", b"Infinity", b"-Infinity"])
def test_what_is_not_json_is_not_read(word: bytes) -> None:
    document = golden(BUILD_PROGRESS).replace(b"42.5", word)
    assert word in document
    with pytest.raises(FlopsError, match="FLOPS-P002"):
        decode(document, BUILD_PROGRESS.model)


@pytest.mark.parametrize("payload", [b"", b"null", b"[]", b"{}", b"\xff\xfe", b'{"specversion":"1.0"', b"[" * 100_000])
def test_what_is_no_envelope_is_refused(payload: bytes) -> None:
    with pytest.raises(FlopsError, match="FLOPS-P002"):
        decode(payload, REPLY.model)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    with pytest.raises(FlopsError, match="FLOPS-P002"):
        decode(payload, REPLY.model)


def test_the_reason_names_the_field() -> None:
    with pytest.raises(FlopsError, match=r"FLOPS-P002 .*data\.percent: .*less than or equal to 100"):
        decode(golden(BUILD_PROGRESS).replace(b"42.5", b"142.5"), BUILD_PROGRESS.model)


def test_a_message_of_256_kb_travels_and_a_byte_more_does_not() -> None:
    envelope = decode(golden(BUILDER_LOG), BUILDER_LOG.model)

    def sized(size: int) -> Any:
        return envelope.model_copy(update={"data": envelope.data.model_copy(update={"lines": ["x" * size]})})

    room = MAX_BYTES - len(encode(sized(0)))
    payload = encode(sized(room))
    assert len(payload) == MAX_BYTES
    assert decode(payload, BUILDER_LOG.model).data.lines == ["x" * room]
    with pytest.raises(FlopsError, match="FLOPS-P001"):
        encode(sized(room + 1))
    with pytest.raises(FlopsError, match="FLOPS-P001"):
        decode(payload + b" ", BUILDER_LOG.model)


def golden(channel: Channel[Any]) -> bytes:
    return (Path(__file__).parent / "fixtures" / "v1" / f"{channel.name}.json").read_bytes()
