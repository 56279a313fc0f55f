"""Frames: how a parcel, or a word about the stream itself, becomes messages of a stream.

The first message of a frame is a fixed head (kind, version, lengths), a JSON header, and as much of the body as fits;
what is left of the body follows in messages of `chunk_size`. The body is the bytes of all arrays, one after another.
A stream keeps the order and the limits of its messages, so nothing more is needed.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import orjson

from flops_federation.errors import FrameError
from flops_federation.parcels import ArrayData, Buffer, ConfigValue, Failure, MetricValue, Parcel

VERSION: Final = 1
CHUNK_BYTES: Final = 1024 * 1024
"""A message is never cut on the wire, so it is also what an answer to a ping waits for. 4 MiB would move 25 MB in 0.8
of the time, but a link of 16 Mbit/s then looks dead; one single message takes twice as long."""
MAX_HEADER_BYTES: Final = 64 * 1024 * 1024
_HEAD = struct.Struct("!BBIQ")


class FrameKind(IntEnum):
    """What a frame is about."""

    HELLO = 1
    WELCOME = 2
    PARCEL = 3
    BYE = 4


@dataclass(frozen=True)
class Frame:
    """A frame that arrived whole: a parcel, or a word (`HELLO`, `WELCOME`, `BYE`) with its JSON object."""

    kind: FrameKind
    word: dict[str, Any]
    parcel: Parcel | None = None


def encode_word(kind: FrameKind, word: dict[str, Any]) -> bytes:
    """A word about the stream itself, as one message."""
    header = orjson.dumps(word)
    return _HEAD.pack(kind, VERSION, len(header), 0) + header


def encode_parcel(parcel: Parcel, chunk_size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """The messages of a parcel; big arrays are cut, small ones share a message. Copies each byte once at most."""
    buffers: list[Buffer] = []
    records: dict[str, Any] = {}
    for name, arrays in parcel.arrays.items():
        items = []
        for key, array in arrays.items():
            size = array.data.nbytes if isinstance(array.data, memoryview) else len(array.data)
            items.append([key, array.dtype, array.shape, array.stype, size])
            buffers.append(array.data)
        records[name] = items
    header = orjson.dumps(
        {
            "kind": parcel.kind,
            "metadata": parcel.metadata,
            "arrays": records,
            "metrics": parcel.metrics,
            "configs": {name: {k: _bare(v) for k, v in config.items()} for name, config in parcel.configs.items()},
            "failure": None if parcel.failure is None else [parcel.failure.code, parcel.failure.reason],
        }
    )
    body = sum(item[4] for items in records.values() for item in items)
    return _chunks([_HEAD.pack(FrameKind.PARCEL, VERSION, len(header), body) + header, *buffers], chunk_size)


def _chunks(parts: list[Buffer], chunk_size: int) -> Iterator[bytes]:
    pending: list[Buffer] = []
    room = chunk_size
    if len(parts[0]) > chunk_size:  # a reader needs the whole header at once
        yield bytes(parts.pop(0))
    for part in parts:
        view = part.cast("B") if isinstance(part, memoryview) else part
        if not view:
            continue
        if len(view) <= room:
            pending.append(view)
            room -= len(view)
            continue
        rest = memoryview(view)
        while len(rest) > room:
            pending.append(rest[:room])
            yield b"".join(pending)
            rest, pending, room = rest[room:], [], chunk_size
        pending, room = [rest], chunk_size - len(rest)
    if pending:
        yield pending[0] if len(pending) == 1 and isinstance(pending[0], bytes) else b"".join(pending)


class Assembler:
    """Puts the messages of one stream together again; one for each direction of each stream."""

    def __init__(self, max_body_bytes: int) -> None:
        """Refuses bodies above `max_body_bytes`, so that no peer can make us take all memory."""
        self._limit = max_body_bytes
        self._header: dict[str, Any] | None = None
        self._buffers: list[bytearray] = []
        self._index = 0
        self._offset = 0
        self._left = 0

    def feed(self, message: bytes) -> Frame | None:
        """Takes the next message; returns the frame that it completes, if it does.

        :raises FrameError: when it is no such message, or a frame is over the limit
        """
        if self._header is not None:
            return self._fill(memoryview(message))
        if len(message) < _HEAD.size:
            raise FrameError(f"a frame begins with {_HEAD.size} bytes; {len(message)} arrived")
        kind, version, header_length, body_length = _HEAD.unpack_from(message)
        if version != VERSION:
            raise FrameError(f"this is protocol version {VERSION}; the peer speaks {version}")
        if kind not in FrameKind.__members__.values():
            raise FrameError(f"no frame is of kind {kind}")
        if header_length > MAX_HEADER_BYTES or body_length > self._limit:
            raise FrameError(f"a frame of {header_length} + {body_length} bytes is over the limit of {self._limit}")
        start = _HEAD.size + header_length
        if len(message) < start:
            raise FrameError(f"the header has {header_length} bytes; {len(message) - _HEAD.size} arrived")
        try:
            header = orjson.loads(memoryview(message)[_HEAD.size : start])
        except orjson.JSONDecodeError as error:
            raise FrameError(f"the header is no JSON: {error}") from error
        if not isinstance(header, dict):
            raise FrameError("the header is no JSON object")
        if kind != FrameKind.PARCEL:
            return Frame(FrameKind(kind), header)
        self._buffers = [bytearray(size) for size in _sizes(header, body_length)]
        self._header, self._index, self._offset, self._left = header, 0, 0, body_length
        return self._fill(memoryview(message)[start:])

    def _fill(self, data: memoryview) -> Frame | None:
        if len(data) > self._left:
            raise FrameError(f"{len(data) - self._left} bytes arrived behind the end of a body")
        self._left -= len(data)
        while len(data):
            buffer = self._buffers[self._index]
            taken = min(len(buffer) - self._offset, len(data))
            buffer[self._offset : self._offset + taken] = data[:taken]
            data, self._offset = data[taken:], self._offset + taken
            if self._offset == len(buffer):
                self._index, self._offset = self._index + 1, 0
        if self._left:
            return None
        header, buffers = self._header, self._buffers
        self._header, self._buffers = None, []
        return Frame(FrameKind.PARCEL, {}, _parcel(header or {}, buffers))


def _sizes(header: dict[str, Any], body_length: int) -> list[int]:
    try:
        sizes = [item[4] for items in header["arrays"].values() for item in items]
        valid = all(type(size) is int and size >= 0 for size in sizes) and sum(sizes) == body_length
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise FrameError(f"the header has no list of arrays: {error!r}") from error
    if not valid:
        raise FrameError(f"the arrays of the header do not make {body_length} bytes")
    return sizes


def _parcel(header: dict[str, Any], buffers: list[bytearray]) -> Parcel:
    data = iter(buffers)
    try:
        failure = header["failure"]
        return Parcel(
            kind=str(header["kind"]),
            metadata=dict(header["metadata"]),
            arrays={
                name: {
                    str(key): ArrayData(str(dtype), tuple(int(n) for n in shape), next(data), str(stype))
                    for key, dtype, shape, stype, _ in items
                }
                for name, items in header["arrays"].items()
            },
            metrics={
                name: {key: _number(value) for key, value in record.items()}
                for name, record in header["metrics"].items()
            },
            configs={
                name: {key: _rich(value) for key, value in record.items()} for name, record in header["configs"].items()
            },
            failure=None if failure is None else Failure(int(failure[0]), str(failure[1])),
        )
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise FrameError(f"the header is no parcel's: {error!r}") from error


def _bare(value: ConfigValue) -> Any:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, list):
        return [_bare(item) for item in value]
    return value


def _rich(value: Any) -> ConfigValue:
    if isinstance(value, dict):
        return base64.b64decode(value["base64"], validate=True)
    if isinstance(value, list):
        return [_rich(item) for item in value]  # type: ignore[return-value]
    if not isinstance(value, int | float | str | bool):
        raise TypeError(f"{type(value).__name__} in a configuration")
    return value


def _number(value: Any) -> MetricValue:
    # orjson writes NaN and the infinities as null.
    if value is None:
        return math.nan
    if isinstance(value, list):
        return [_number(item) for item in value]  # type: ignore[return-value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{type(value).__name__} in the metrics")
    return value
