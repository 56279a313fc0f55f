"""A stream over a link that is slow: parameters take their time, and nobody is taken for dead."""

import asyncio
import os
from contextlib import asynccontextmanager

import anyio
from flops_federation.adapters.grpc_client import Invitation, join
from flops_federation.adapters.grpc_server import Joined, serve
from flops_federation.parcels import ArrayData, Parcel

RATE = 1_000_000
"""Bytes a second, each way."""
PIECE = 16 * 1024
SIZE = 6_000_000


@asynccontextmanager
async def slow_link(port):
    """A proxy to the port; yields its own."""
    tasks = set()

    async def pump(reader, writer):
        try:
            while data := await reader.read(PIECE):
                writer.write(data)
                await writer.drain()
                await asyncio.sleep(len(data) / RATE)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def take(reader, writer):
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        for pair in ((reader, inner_writer), (inner_reader, writer)):
            tasks.add(asyncio.create_task(pump(*pair)))

    server = await asyncio.start_server(take, "127.0.0.1", 0, limit=PIECE)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_big_parameters_cross_a_slow_link():
    here, seen = anyio.Event(), []

    def watch(change):
        seen.append(change)
        here.set()

    async def echo(parcel):
        return parcel

    async with (
        serve("127.0.0.1", authorise=lambda _learner, _token: None, watch=watch) as server,
        slow_link(server.port) as port,
    ):
        joined = asyncio.create_task(join(Invitation("127.0.0.1", port, "one", "", 1), echo))
        with anyio.fail_after(10):
            await here.wait()
        data = os.urandom(SIZE)
        parcel = Parcel("train", arrays={"a": {"0": ArrayData("uint8", (SIZE,), data)}})
        answer = await server.ask("one", parcel, 50)
        assert bytes(answer.arrays["a"]["0"].data) == data
        assert [type(change) for change in seen] == [Joined]
        await server.dismiss("done", 10)
        await joined
