"""BuildKit inside of an engine: its answers to `POST /build?version=2`, which Docker's API does not document further.

Progress comes as base64 of a protobuf message (moby/buildkit, api/services/control/control.proto, StatusResponse). Two
of its fields are of interest, so they are read by hand (Protocol Buffers, "Encoding").
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

TRACE = "moby.buildkit.trace"
IMAGE = "moby.image.id"
VERTEXES, LOGS = 1, 3
"""Of StatusResponse."""
DIGEST, NAME = 1, 3
"""Of Vertex."""
MESSAGE = 4
"""Of VertexLog."""


@dataclass
class Answers:
    """What a build has answered so far."""

    image: str = ""
    error: str = ""
    _told: set[bytes] = field(default_factory=set)

    def lines(self, answer: bytes) -> Iterator[str]:
        """What is worth telling of one answer.

        :raises ValueError: when it is none
        """
        document: Mapping[str, Any] = json.loads(answer)
        self.error = str(document.get("error") or self.error)
        aux = document.get("aux")
        if document.get("id") == IMAGE and isinstance(aux, dict):
            self.image = str(aux.get("ID", ""))
        if document.get("id") == TRACE and isinstance(aux, str):
            yield from self._trace(aux)

    def _trace(self, aux: str) -> Iterator[str]:
        try:
            content = base64.b64decode(aux)
        except binascii.Error as error:
            raise ValueError("a trace is no base64") from error
        for number, part in fields(content):
            if number == VERTEXES:
                values = dict(fields(part))
                if values.get(DIGEST, b"") not in self._told:
                    self._told.add(values.get(DIGEST, b""))
                    yield values.get(NAME, b"").decode(errors="replace")
            elif number == LOGS:
                yield from dict(fields(part)).get(MESSAGE, b"").decode(errors="replace").splitlines()


def fields(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a message that have a length, by their numbers; the others are passed over.

    :raises ValueError: when it is no such message
    """
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        match key & 7:
            case 0:
                _, at = _varint(content, at)
            case 1:
                at += 8
            case 2:
                length, at = _varint(content, at)
                if at + length > len(content):
                    raise ValueError("a field is longer than its message")
                yield key >> 3, content[at : at + length]
                at += length
            case 5:
                at += 4
            case _:
                raise ValueError(f"wire type {key & 7}")


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(content):
            raise ValueError("a number is cut off")
        value |= (content[at] & 0x7F) << shift
        at += 1
        if content[at - 1] < 0x80:
            return value, at
    raise ValueError("a number of more than ten bytes")
