"""The channel registry: one writer for a topic, and no topic on two channels."""

import itertools
import re
from typing import Any

import pytest
from flops_protocol.channels import CHANNELS, CLIENT, ROLES, ROOT, SERVICE, Channel, channel_of
from flops_protocol.errors import FlopsError
from flops_protocol.schemas.asyncapi import PARAMETERS

EACH = pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: channel.name)


def overlap(one: str, other: str) -> bool:
    """Whether a topic can match both patterns."""
    pairs = list(itertools.zip_longest(one.split("/"), other.split("/")))
    return all(a is not None and b is not None and (a == b or "{" in a + b) for a, b in pairs)


def test_overlap_is_seen() -> None:
    assert overlap("a/{x}/c", "a/b/{y}")
    assert not overlap("a/{x}/c", "a/b/d")
    assert not overlap("a/{x}", "a/b/c")


def test_no_topic_belongs_to_two_channels() -> None:
    pairs = itertools.combinations(CHANNELS, 2)
    assert [(a.name, b.name) for a, b in pairs if overlap(a.pattern, b.pattern)] == []


def test_names_are_unique() -> None:
    names = [channel.name for channel in CHANNELS]
    assert len(set(names)) == len(names)


def test_channels_of_one_type_carry_one_message() -> None:
    models: dict[str, Any] = {}
    for channel in CHANNELS:
        assert models.setdefault(channel.type, channel.model) is channel.model


@EACH
def test_the_one_writer_stands_in_the_path(channel: Channel[Any]) -> None:
    levels = channel.pattern.split("/")
    if channel.writer in (CLIENT, SERVICE):
        assert levels[0] in ("requests", "inbox")
    elif channel.pattern.startswith("nodes/"):
        assert channel.writer == "manager"
    else:
        assert channel.writer in levels
        assert channel.writer in ROLES or channel.writer.strip("{}") in channel.parameters


@EACH
def test_somebody_reads_it(channel: Channel[Any]) -> None:
    assert channel.readers
    assert set(channel.readers) <= set(ROLES)


@EACH
def test_state_stays_and_everything_else_expires(channel: Channel[Any]) -> None:
    assert channel.retain == (channel.expiry is None)
    assert channel.qos == 1 or not channel.retain


@EACH
def test_names_are_well_formed(channel: Channel[Any]) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", channel.name)
    assert re.fullmatch(r"flops(\.[a-z]+)+\.v1", channel.type)
    for level in channel.pattern.split("/"):
        assert re.fullmatch(r"[a-z-]+|\{[a-z]+\}", level)
    assert set(channel.parameters) <= PARAMETERS.keys()


@EACH
def test_a_topic_leads_back_to_its_channel(channel: Channel[Any]) -> None:
    parameters = {name: f"{name}-1" for name in channel.parameters}
    topic = channel.topic(**parameters)
    assert topic.startswith(f"{ROOT}/")
    assert channel_of(topic) == (channel, parameters)
    assert channel.filter(**parameters) == topic
    assert channel.filter().count("+") == len(parameters)


@EACH
@pytest.mark.parametrize("bad", ["", "a/b", "+", "#", "A", "a b", "ä", "x" * 64, "a\n"])
def test_what_is_no_segment_makes_no_topic(channel: Channel[Any], bad: str) -> None:
    for name in channel.parameters:
        with pytest.raises(ValueError, match="is no topic"):
            channel.topic(**(dict.fromkeys(channel.parameters, "fine") | {name: bad}))


@EACH
def test_parameters_are_complete(channel: Channel[Any]) -> None:
    with pytest.raises(ValueError, match="takes"):
        channel.topic(**dict.fromkeys(channel.parameters, "fine"), more="x")


@pytest.mark.parametrize("topic", ["flops/v1/nowhere", "flops/v2/nodes/n/status", "nodes/n/status", "", "/"])
def test_a_topic_of_no_channel_is_told(topic: str) -> None:
    with pytest.raises(FlopsError, match="FLOPS-P003"):
        channel_of(topic)
