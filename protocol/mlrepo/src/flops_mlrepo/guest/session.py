"""The request loop of the worker."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any, Dict, Sequence, Tuple

import numpy as np

from flops_mlrepo import data, frames
from flops_mlrepo.contract import Operation
from flops_mlrepo.guest.faults import FaultError
from flops_mlrepo.guest.model import Model
from flops_mlrepo.guest.saving import rehearse_saving, save_model
from flops_mlrepo.guest.smoke import smoke

Answer = Tuple[Dict[str, Any], Sequence[np.ndarray]]

# Linux takes at most this many buffers in one call.
_MAX_BUFFERS = 1024
_MAX_BODY_BYTES = 1 << 44


def serve(channel: socket.socket, mlenv: str, code: str, in_network: str = "") -> None:
    """Answers requests, one after the other, until the host closes the channel.

    :param in_network: why the code has the network, where it should not
    """
    model = Model(code)
    versions = {"python": sys.version.split()[0], "numpy": np.__version__}
    send(channel, frames.encode({"ready": True, **versions, "in-network": in_network}))
    pid = os.getpid()
    while True:
        request = receive(channel)
        if request is None:
            return
        head, arrays = request
        try:
            values, answer = _answer(model, (mlenv, code), head, arrays)
            buffers = frames.encode({"id": head["id"], **values}, answer)
        except FaultError as fault:
            buffers = frames.encode({"id": head["id"], "fault": fault.document()})
        if os.getpid() != pid:
            # The code forked and let the child return: the answer is the parent's to give.
            os._exit(0)
        send(channel, buffers)


def _answer(model: Model, places: tuple[str, str], head: dict[str, Any], arrays: list[np.ndarray]) -> Answer:
    operation = Operation(head["do"])
    if operation is Operation.CONSTRUCT:
        model.construct()
    elif operation is Operation.SMOKE:
        return {"arrays": smoke(model)}, ()
    elif operation is Operation.LOAD_DATA:
        source = head["source"]
        return {"rows": model.load_data(None if source is None else data.Source(**source))}, ()
    elif operation is Operation.GET_PARAMETERS:
        return {}, model.parameters()
    elif operation is Operation.SET_PARAMETERS:
        model.set_parameters(arrays)
    elif operation is Operation.FIT:
        return {"samples": model.fit()}, ()
    elif operation is Operation.TRAIN:
        trained, samples = model.train(arrays, head["config"])
        return {"samples": samples}, trained
    elif operation is Operation.EVALUATE:
        if head["set"]:
            model.set_parameters(arrays)
        loss, accuracy, samples = model.evaluate()
        return {"loss": loss, "accuracy": accuracy, "samples": samples}, ()
    elif operation is Operation.SAVE_MODEL:
        if head["set"]:
            model.set_parameters(arrays)
        return save_model(model, *places, head["folder"], head["flavor"], head["tracking"]), ()
    elif operation is Operation.REHEARSE_SAVING:
        return rehearse_saving(model, *places, head["flavor"], head["tracking"]), ()
    return {}, ()


def send(channel: socket.socket, buffers: Sequence[frames.Buffer]) -> None:
    """Sends all buffers, many in one call, without joining them."""
    left = [memoryview(buffer) for buffer in buffers]
    while left:
        sent = channel.sendmsg(left[:_MAX_BUFFERS])
        while left and sent >= left[0].nbytes:
            sent -= left.pop(0).nbytes
        if sent:
            left[0] = left[0][sent:]


def receive(channel: socket.socket) -> Any:
    """One frame's head and arrays; None when the host closed the channel."""
    start = bytearray(frames.PREFIX_BYTES)
    if not _fill(channel, memoryview(start)):
        return None
    prefix = frames.parse_prefix(memoryview(start), _MAX_BODY_BYTES)
    block = bytearray(prefix.block_bytes)
    _fill(channel, memoryview(block))
    head, arrays, views = frames.parse_block(prefix, bytes(block))
    for view in views:
        if not _fill(channel, view):
            return None
    return head, arrays


def _fill(channel: socket.socket, view: memoryview) -> bool:
    while view.nbytes:
        count = channel.recv_into(view, 0, socket.MSG_WAITALL)
        if count == 0:
            return False
        view = view[count:]
    return True
