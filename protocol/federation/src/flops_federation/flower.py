"""Flower's messages as parcels, and back. Needs the extra `flower`; nothing else here imports Flower.

Built on what `flwr` 1.41.0 has inside (`make_message`, `Metadata`, `TaskIdentity`): the version is pinned exactly, and
tests/unit/federation/test_flower.py turns red when one of these changes.
"""

from __future__ import annotations

from typing import Any, cast

import numpy.typing as npt
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.app.message.message import make_message
from flwr.app.metadata import Metadata

from flops_federation.npy import read_npy
from flops_federation.parcels import NPY, ArrayData, Failure, Parcel

_METADATA = (
    "run_id",
    "message_id",
    "src_node_id",
    "dst_node_id",
    "reply_to_message_id",
    "group_id",
    "created_at",
    "ttl",
    "message_type",
    "src_task_id",
    "dst_task_id",
)


class WireArray(Array):  # type: ignore[misc]
    """Flower's `Array` over bytes that came by wire, without copying or parsing more than is asked for.

    `numpy()` gives a view of those bytes: whoever writes into it changes what the next call gives. Flower's strategies
    that write (QFedAvg) take the array out of its record first.
    """

    def __init__(self, data: ArrayData) -> None:
        """Takes the bytes as they are."""
        self.__dict__.update(dtype=data.dtype, shape=data.shape, stype=data.stype, _received=data, _bytes=None)

    @property
    def data(self) -> bytes:
        """The bytes of the `.npy` file, copied at the first use where they are none yet."""
        if self.__dict__["_bytes"] is None:
            self.__dict__["_bytes"] = bytes(self.received.data)
        return cast("bytes", self.__dict__["_bytes"])

    @data.setter
    def data(self, value: bytes) -> None:
        self.__dict__.update(_received=ArrayData(self.dtype, self.shape, value, self.stype), _bytes=value)

    @property
    def received(self) -> ArrayData:
        """What it was made of."""
        return cast("ArrayData", self.__dict__["_received"])

    def numpy(self) -> npt.NDArray[Any]:
        """The array, as a view of the bytes.

        :raises ValueError: when the bytes are no `.npy` file, or one with Python objects
        """
        return read_npy(self.received.data) if self.stype == NPY else super().numpy()


def to_parcel(message: Message) -> Parcel:
    """The message as a parcel; its arrays' bytes are not copied."""
    metadata = {name: getattr(message.metadata, name) for name in _METADATA}
    kind = message.metadata.message_type
    if message.has_error():
        return Parcel(kind, metadata, failure=Failure(message.error.code, message.error.reason or ""))
    parcel = Parcel(kind, metadata)
    # Once over the records: Flower's views of one kind copy the whole dictionary each.
    for name, record in message.content.items():
        if isinstance(record, ArrayRecord):
            parcel.arrays[name] = {key: data_of(array) for key, array in record.items()}
        elif isinstance(record, MetricRecord):
            parcel.metrics[name] = dict(record.items())
        else:
            parcel.configs[name] = dict(record.items())
    return parcel


def data_of(array: Array) -> ArrayData:
    """The array's bytes, not copied."""
    if isinstance(array, WireArray):
        return array.received
    return ArrayData(array.dtype, tuple(array.shape), array.data, array.stype)


def from_parcel(parcel: Parcel) -> Message:
    """The parcel as a Flower message.

    :raises KeyError: when its metadata are no Flower message's
    """
    metadata = Metadata(**{name: parcel.metadata[name] for name in _METADATA})
    metadata.delivered_at = ""
    if parcel.failure is not None:
        return make_message(metadata, error=Error(parcel.failure.code, parcel.failure.reason))
    return make_message(metadata, content=content_of(parcel))


def reply_from_parcel(parcel: Parcel, to: Message) -> Message:
    """The parcel as the reply to a message that we sent: who answered is not taken from the parcel."""
    if parcel.failure is not None:
        return Message(Error(parcel.failure.code, parcel.failure.reason), reply_to=to)
    return Message(content_of(parcel), reply_to=to)


def content_of(parcel: Parcel) -> RecordDict:
    """The parcel's records as Flower's."""
    content = RecordDict()
    for name, arrays in parcel.arrays.items():
        record = ArrayRecord()
        for key, data in arrays.items():
            record[key] = WireArray(data)
        content[name] = record
    for name, metrics in parcel.metrics.items():
        content[name] = MetricRecord(metrics)
    for name, config in parcel.configs.items():
        content[name] = ConfigRecord(config)
    return content
