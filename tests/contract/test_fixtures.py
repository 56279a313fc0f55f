"""Golden documents: one a channel with every field set, and the smallest that its readers must take."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flops_protocol.channels import CHANNELS, Channel, channel_of
from flops_protocol.envelope import Envelope, decode, encode
from flops_protocol.errors import FlopsError
from flops_protocol.schemas.messages import message_schemas
from jsonschema import Draft202012Validator
from pydantic import ValidationError

SCHEMAS = message_schemas()
FOLDER = Path(__file__).parent / "fixtures" / "v1"
EACH = pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: channel.name)
READERS = [
    pytest.param(channel, id=f"{reader} reads {channel.name}") for channel in CHANNELS for reader in channel.readers
]


def golden(channel: Channel[Any]) -> bytes:
    return (FOLDER / f"{channel.name}.json").read_bytes()


def smallest(channel: Channel[Any]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((FOLDER / "minimal" / f"{channel.type}.json").read_bytes())
    return document


def objects(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for member in node.values() if isinstance(node, dict) else node if isinstance(node, list) else []:
        yield from objects(member)


def test_there_is_one_for_each_channel_and_no_other() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == {channel.name for channel in CHANNELS}
    assert {path.stem for path in (FOLDER / "minimal").glob("*.json")} == {channel.type for channel in CHANNELS}


@EACH
def test_a_golden_document_is_read_and_written_as_it_was(channel: Channel[Any]) -> None:
    envelope = decode(golden(channel), channel.model)
    assert json.loads(encode(envelope)) == json.loads(golden(channel))
    assert (
        encode(envelope, sort_keys=True)
        == json.dumps(json.loads(golden(channel)), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    )
    assert channel_of(f"flops/v1/{envelope.subject}")[0] is channel
    assert envelope.type == channel.type


@EACH
def test_a_golden_document_fits_the_schema(channel: Channel[Any]) -> None:
    Draft202012Validator(SCHEMAS[channel.type]).validate(json.loads(golden(channel)))


@EACH
def test_a_golden_document_sets_every_field(channel: Channel[Any]) -> None:
    envelope = decode(golden(channel), channel.model)
    assert envelope.model_fields_set >= Envelope.model_fields.keys()
    assert envelope.data.model_fields_set == channel.model.model_fields.keys()


@EACH
def test_readers_ignore_what_they_do_not_know_at_every_depth(channel: Channel[Any]) -> None:
    document = json.loads(golden(channel))
    known = decode(golden(channel), channel.model)
    free = [document["data"].get("details"), document["data"].get("refused")]
    for node in list(objects(document)):
        if all(isinstance(value, str | int | float) for value in node.values()) and "code" not in node:
            continue  # It may be an object of names of ours, which has no unknown ones.
        if node not in free:
            node["a field of tomorrow"] = {"deep": [1]}
    assert b"tomorrow" in json.dumps(document).encode()
    assert decode(json.dumps(document).encode(), channel.model).data == known.data


@EACH
def test_writers_may_not_send_what_the_schema_does_not_have(channel: Channel[Any]) -> None:
    data = json.loads(golden(channel))["data"]
    channel.model.model_validate(data)
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        channel.model.model_validate(data | {"a field of tomorrow": 1})


@pytest.mark.parametrize("channel", READERS)
def test_a_reader_needs_no_more_than_the_smallest_document(channel: Channel[Any]) -> None:
    envelope = decode(json.dumps(smallest(channel)).encode(), channel.model)
    assert decode(encode(envelope), channel.model) == envelope


@EACH
def test_the_smallest_document_has_nothing_to_spare(channel: Channel[Any]) -> None:
    document = smallest(channel)
    validator = Draft202012Validator(SCHEMAS[channel.type])
    validator.validate(document)
    for field in [*document, *(f"data.{name}" for name in document["data"])]:
        less = copy.deepcopy(document)
        target = less["data"] if field.startswith("data.") else less
        del target[field.removeprefix("data.")]
        assert not validator.is_valid(less), f"{field} is not needed"
        with pytest.raises(FlopsError, match="FLOPS-P002"):
            decode(json.dumps(less).encode(), channel.model)
