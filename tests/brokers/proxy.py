"""A TCP proxy that breaks connections in the ways that networks do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import SocketAttribute, SocketStream, TaskStatus

_GONE = (OSError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


class FaultProxy:
    """Between a client and a port of this machine; passes everything on until it is told otherwise."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._open = True
        self._flowing = anyio.Event()
        self._flowing.set()
        self._streams: set[SocketStream] = set()

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"mqtt://127.0.0.1:{self.port}"

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Serves until it is cancelled; started when it listens."""
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            self.port = listener.extra(SocketAttribute.local_port)
            task_status.started()
            await listener.serve(self._serve)

    async def cut(self) -> None:
        """Breaks the connections that there are, without a goodbye; new ones are taken."""
        for stream in list(self._streams):
            with suppress(*_GONE):
                await anyio.aclose_forcefully(stream)

    async def close(self) -> None:
        """Breaks all connections, and takes no new ones until `open`."""
        self._open = False
        await self.cut()

    def open(self) -> None:
        """The end of `close`."""
        self._open = True

    def freeze(self) -> None:
        """Connections stay, and not a byte passes, in either direction, until `thaw`."""
        self._flowing = anyio.Event()

    def thaw(self) -> None:
        """The end of `freeze`: what was held back passes."""
        self._flowing.set()

    async def _serve(self, client: SocketStream) -> None:
        with suppress(*_GONE):
            try:
                if not self._open:
                    raise ConnectionRefusedError
                broker = await anyio.connect_tcp("127.0.0.1", self._target)
            except OSError:
                await anyio.aclose_forcefully(client)
                return
            self._streams |= {client, broker}
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._pump, client, broker)
                    group.start_soon(self._pump, broker, client)
            finally:
                self._streams -= {client, broker}
                for stream in (client, broker):
                    with anyio.CancelScope(shield=True), suppress(*_GONE):
                        await anyio.aclose_forcefully(stream)

    async def _pump(self, source: SocketStream, target: SocketStream) -> None:
        with suppress(*_GONE):
            async for chunk in source:
                await self._flowing.wait()
                await target.send(chunk)
        with suppress(*_GONE):
            await anyio.aclose_forcefully(target)
        with suppress(*_GONE):
            await anyio.aclose_forcefully(source)


@asynccontextmanager
async def proxied(target: int) -> AsyncIterator[FaultProxy]:
    """A proxy in front of a port, gone when the block is left."""
    proxy = FaultProxy(target)
    async with anyio.create_task_group() as group:
        await group.start(proxy.run)
        yield proxy
        group.cancel_scope.cancel()
