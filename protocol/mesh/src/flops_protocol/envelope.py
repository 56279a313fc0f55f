"""The envelope: one CloudEvents 1.0 JSON document a message, in structured mode.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
"""

from __future__ import annotations

from functools import cache
from typing import Any, Generic, Literal, TypeVar

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from flops_protocol.errors import FlopsError
from flops_protocol.messages._base import Message

MAX_BYTES = 256 * 1024
CONTENT_TYPE = "application/cloudevents+json"

M = TypeVar("M", bound=Message)


class Envelope(BaseModel, Generic[M]):
    """A message with where it is from, when it was written, and what it answers.

    `sequence` counts from 1 without gaps for one `source`, one `epoch` and one topic; `epoch` is new at every start of
    the writing process and grows. Attributes after `dataschema` are extension attributes of ours.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    specversion: Literal["1.0"] = "1.0"
    id: str = Field(min_length=1, max_length=64)
    source: str = Field(min_length=1, max_length=256)
    type: str
    subject: str
    time: AwareDatetime
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: str
    sequence: int = Field(ge=1)
    epoch: int = Field(ge=0)
    causationid: str | None = None
    correlationid: str | None = None
    traceparent: str | None = None
    data: M


def encode(envelope: Envelope[Any], *, sort_keys: bool = False) -> bytes:
    """The envelope as JSON bytes.

    :raises FlopsError: FLOPS-P001 when it is over 256 kB
    """
    payload = orjson.dumps(
        envelope.model_dump(mode="json", exclude_none=True, by_alias=True),
        option=orjson.OPT_SORT_KEYS if sort_keys else None,
    )
    if len(payload) > MAX_BYTES:
        raise FlopsError("FLOPS-P001", f"{envelope.type} is {len(payload)} bytes")
    return payload


@cache
def _envelope_of(model: type[M]) -> type[Envelope[M]]:
    """Pydantic looks a generic up at every use, which takes longer than reading a message."""
    return Envelope[model]  # type: ignore[valid-type]


def decode(payload: bytes, model: type[M]) -> Envelope[M]:
    """Reads an envelope whose data is `model`; unknown fields are ignored, at every depth.

    :raises FlopsError: FLOPS-P001 when it is over 256 kB, FLOPS-P002 when it is no such document
    """
    if len(payload) > MAX_BYTES:
        raise FlopsError("FLOPS-P001", f"{len(payload)} bytes arrived")
    try:
        return _envelope_of(model).model_validate_json(payload, extra="ignore")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise FlopsError("FLOPS-P002", f"{where}: {first['msg']}") from error
