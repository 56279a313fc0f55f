"""Flower 1.41.0's messages over parcels: what we use of its inside still is as we think."""

import importlib.metadata
import io

import numpy as np
import pytest
from flops_federation.flower import WireArray, from_parcel, reply_from_parcel, to_parcel
from flops_federation.frames import Assembler, encode_parcel
from flops_federation.parcels import ArrayData
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity


@pytest.fixture(autouse=True)
def identity():
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 2, 3


def message(content=None):
    return Message(content or RecordDict(), dst_node_id=7, message_type="train", group_id="4")


def over_the_wire(sent):
    assembler = Assembler(2**30)
    for part in encode_parcel(to_parcel(sent), 1000):
        frame = assembler.feed(part)
    return frame.parcel


def npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def test_version_is_the_one_that_this_was_written_for():
    assert importlib.metadata.version("flwr") == "1.41.0"


def test_message_arrives_as_it_was():
    array = np.linspace(0, 1, 7, dtype="f4")
    sent = message(
        RecordDict(
            {
                "arrays": ArrayRecord([array, np.float64([[1]])]),
                "config": ConfigRecord(
                    {"server-round": 3, "proximal-mu": 0.5, "raw": b"\x00", "on": True, "l": [1, 2]}
                ),
                "metrics": MetricRecord({"num-examples": 5, "loss": 0.25, "list": [1.0]}),
            }
        )
    )
    got = from_parcel(over_the_wire(sent))
    for name in ("run_id", "src_node_id", "dst_node_id", "group_id", "created_at", "ttl", "message_type"):
        assert getattr(got.metadata, name) == getattr(sent.metadata, name)
    assert got.content.config_records["config"] == sent.content.config_records["config"]
    assert got.content.metric_records["metrics"] == sent.content.metric_records["metrics"]
    assert list(got.content["arrays"]) == ["0", "1"]
    assert np.array_equal(got.content["arrays"]["0"].numpy(), array)
    assert got.content["arrays"]["0"].data == sent.content["arrays"]["0"].data


def test_error_arrives_as_the_reply_to_our_message():
    sent = message()
    got = reply_from_parcel(over_the_wire(Message(Error(2, "why"), reply_to=sent)), sent)
    assert (got.error.code, got.error.reason, got.metadata.src_node_id) == (2, "why", 7)


def test_who_replies_is_not_taken_from_the_wire():
    sent = message()
    forged = over_the_wire(Message(RecordDict(), reply_to=sent))
    forged.metadata["src_node_id"] = 99
    assert reply_from_parcel(forged, sent).metadata.src_node_id == 7


def test_wire_array_is_flowers_array():
    array = np.arange(3, dtype="i8")
    wire = WireArray(ArrayData("int64", (3,), bytearray(npy(array))))
    assert isinstance(wire, Array)
    assert np.array_equal(ArrayRecord({"a": wire}).to_numpy_ndarrays()[0], array)
    assert (wire.data, wire.dtype, wire.shape) == (Array(array).data, "int64", (3,))
