"""The command line's connection to the mesh."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import create_task_group
from flops_protocol.bus import Bus, Identity
from flops_protocol.bus.mqtt import MqttBus
from flops_protocol.errors import FlopsError

from flops_cli.bare import bare_errors

CONNECT_SECONDS = 3.0


@asynccontextmanager
async def connected(url: str, *, connect_timeout: float = CONNECT_SECONDS) -> AsyncIterator[Bus]:
    """A bus that is connected while the block runs.

    :raises FlopsError: FLOPS-P006 when no broker answers there
    """
    identity = Identity("cli", f"cli-{os.urandom(4).hex()}")
    try:
        bus = MqttBus(url, identity, connect_timeout=connect_timeout, send_timeout=10)
    except ValueError as error:
        raise FlopsError("FLOPS-P006", str(error)) from error
    with bare_errors():
        async with create_task_group() as group:
            await group.start(bus.run)
            yield bus
            group.cancel_scope.cancel()
