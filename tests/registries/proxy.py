"""Between a client and a registry: cuts connections in the middle of what goes through."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import SocketAttribute, SocketStream, TaskStatus

_GONE = (OSError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


@dataclass
class CuttingProxy:
    """Passes everything on, save for the connections that it is told to cut."""

    target: int
    port: int = 0
    sent: int = 0
    """Bytes from clients to the registry, in all."""
    received: int = 0
    """Bytes from the registry to clients, in all."""
    cuts: int = 0
    """Connections that were cut."""
    cut_after_sent: list[int] = field(default_factory=list)
    """Each cuts one connection: the one through which this byte of all that are sent goes."""
    cut_after_received: list[int] = field(default_factory=list)
    """Likewise, of all that are received."""
    refuse: int = 0
    """So many of the next connections are closed at once."""

    @property
    def url(self) -> str:
        """What a client takes for the registry."""
        return f"http://127.0.0.1:{self.port}"

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Serves until it is cancelled; started when it listens."""
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            self.port = listener.extra(SocketAttribute.local_port)
            task_status.started()
            await listener.serve(self._serve)

    async def _serve(self, client: SocketStream) -> None:
        async with client:
            if self.refuse:
                self.refuse -= 1
                return
            async with await anyio.connect_tcp("localhost", self.target) as server, anyio.create_task_group() as group:
                group.start_soon(self._pass, client, server, True, group.cancel_scope)
                group.start_soon(self._pass, server, client, False, group.cancel_scope)

    async def _pass(self, source: SocketStream, sink: SocketStream, sends: bool, scope: anyio.CancelScope) -> None:
        with suppress(*_GONE):
            while True:
                chunk = await source.receive(16 * 1024)
                limits = self.cut_after_sent if sends else self.cut_after_received
                before = self.sent if sends else self.received
                if limits and before + len(chunk) > limits[0]:
                    chunk = chunk[: max(0, limits.pop(0) - before)]
                    self._count(sends, len(chunk))
                    await sink.send(chunk)
                    self.cuts += 1
                    break
                self._count(sends, len(chunk))
                await sink.send(chunk)
        scope.cancel()

    def _count(self, sends: bool, size: int) -> None:
        if sends:
            self.sent += size
        else:
            self.received += size
