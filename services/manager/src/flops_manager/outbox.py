"""Publishes what the store says is to be published, in its order, and forgets it when the broker has it."""

from __future__ import annotations

import anyio
import structlog
from flops_protocol.bus import Bus, Outgoing
from flops_protocol.errors import FlopsError

from flops_manager.crash import crash_point
from flops_manager.store.store import Store

log = structlog.get_logger(__name__)

BATCH = 100
REFUSED_TRIES = 3
REFUSED_PAUSE_SECONDS = 1.0


class Pump:
    """Empties the outbox, and says all retained state again when the broker may have forgotten it.

    At least once: after a crash, what was sent last is sent again, in the same envelope.
    """

    def __init__(self, store: Store, bus: Bus) -> None:
        """Nothing is sent before `run`."""
        self._store = store
        self._bus = bus
        self._forgotten = False
        self._wake = anyio.Event()

    def refresh(self) -> None:
        """Has all retained state said again: the broker is a new one, or has lost it."""
        self._forgotten = True
        self._wake.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            self._wake = anyio.Event()
            await self.flush()
            if self._forgotten:
                # After the outbox, which may still hold an older state of the same topics.
                self._forgotten = False
                for message in await self._store.retained():
                    await self._send(message)
                continue
            async with anyio.create_task_group() as group:
                group.start_soon(self._wait_refresh, group.cancel_scope)
                await self._store.wait_outbox()
                group.cancel_scope.cancel()

    async def flush(self) -> None:
        """Publishes what waits now."""
        while batch := await self._store.outbox(BATCH):
            for _, message in batch:
                crash_point("outbox.before-send")
                await self._send(message)
                crash_point("outbox.after-send")
            await self._store.sent(batch[-1][0])

    async def _wait_refresh(self, scope: anyio.CancelScope) -> None:
        await self._wake.wait()
        scope.cancel()

    async def _send(self, message: Outgoing) -> None:
        refusals = 0
        while True:
            try:
                await self._bus.send(message)
            except FlopsError as error:
                if error.body.code != "FLOPS-P004":
                    log.warning("the broker is away; what is to be said waits", topic=message.topic, error=str(error))
                    await anyio.sleep(REFUSED_PAUSE_SECONDS)
                    continue
                refusals += 1
                if refusals == REFUSED_TRIES:
                    # It stands in the history, and replay tells it; the rest must not wait for it for ever.
                    log.error("the broker refuses a message", topic=message.topic, error=str(error))  # noqa: TRY400
                    return
                await anyio.sleep(REFUSED_PAUSE_SECONDS * refusals)
            else:
                return
