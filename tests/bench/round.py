"""What a round costs beside the training: our stream and Flower's strategy, against a loop written by hand.

    python -m tests.bench.round [--stock] [--learners 2 10 20] [--megabytes 25]

A round is what the aggregator does: parameters out, trained parameters back, averaged by samples; parameters out,
metrics back, averaged. Training itself is empty. Each learner is a process of its own, in both. The hand-written loop
is asyncio streams with a length before each message, and NumPy. `--stock` adds Flower's SuperLink and SuperNodes, with
the settings that start them fastest; it takes minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import anyio
import numpy as np
import numpy.typing as npt

from tests.bench import stock
from tests.bench.table import machine, show

Floats = npt.NDArray[np.float32]
SMALL = 650
"""Parameters of a linear model of scikit-learn's digits."""


@contextmanager
def learners(kind: str, count: int, port: int) -> Iterator[None]:
    """That many learner processes."""
    processes = [
        subprocess.Popen([sys.executable, "-m", "tests.bench.round", "--learner", kind, str(port), f"learner-{number}"])
        for number in range(count)
    ]
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


async def timed(one: Callable[[int], Awaitable[None]], seconds: float) -> float:
    """The median seconds of a round, after some that do not count."""
    for number in range(1, 4):
        await one(number)
    taken: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(taken) < 5:
        began = time.perf_counter()
        await one(len(taken) + 4)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


# The loop by hand.


async def loop_by_hand(count: int, numbers: int, seconds: float) -> float:
    """The median seconds of a round."""
    connections: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    here, over = asyncio.Event(), asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append((reader, writer))
        if len(connections) == count:
            here.set()
        await over.wait()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    weights = np.zeros(numbers, dtype=np.float32)

    async def ask(kind: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(struct.pack("!BQ", kind, weights.nbytes))
        writer.write(memoryview(weights).cast("B"))
        await writer.drain()
        (length,) = struct.unpack("!Q", await reader.readexactly(8))
        return await reader.readexactly(length)

    async def one(_number: int) -> None:
        nonlocal weights
        trained = await asyncio.gather(*(ask(0, *connection) for connection in connections))
        counts = [struct.unpack_from("!Q", answer)[0] for answer in trained]
        total = sum(counts)
        merged = np.frombuffer(trained[0], np.float32, offset=8) * (counts[0] / total)
        for answer, samples in zip(trained[1:], counts[1:], strict=True):
            merged += np.frombuffer(answer, np.float32, offset=8) * (samples / total)
        weights = merged
        evaluated = [
            struct.unpack("!Qdd", answer) for answer in await asyncio.gather(*(ask(1, *c) for c in connections))
        ]
        total = sum(samples for samples, _, _ in evaluated)
        sum(loss * samples for samples, loss, _ in evaluated) / total

    with learners("hand", count, server.sockets[0].getsockname()[1]):
        await here.wait()
        taken = await timed(one, seconds)
    over.set()
    server.close()
    return taken


async def learner_by_hand(port: int) -> None:
    """Answers until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while True:
        try:
            kind, length = struct.unpack("!BQ", await reader.readexactly(9))
        except asyncio.IncompleteReadError:
            return
        weights = await reader.readexactly(length)
        if kind == 0:
            writer.write(struct.pack("!QQ", length + 8, 10))
            writer.write(weights)
        else:
            writer.write(struct.pack("!QQdd", 24, 10, 0.5, 0.5))
        await writer.drain()


# Ours.


async def ours(count: int, numbers: int, seconds: float) -> float:
    """The median seconds of a round."""
    from flops_aggregator.adapters.flower_federation import FlowerFederation, reason_of
    from flops_aggregator.adapters.strategies import make_strategy
    from flops_aggregator.adapters.stream_grid import StreamGrid
    from flops_aggregator.parameters import from_arrays, kinds_of
    from flops_aggregator.rounds import Minimums, Round
    from flops_federation.adapters.grpc_server import serve
    from flops_protocol.sla import Strategy, TrainingConfiguration

    here = asyncio.Event()

    def watch(_change: object) -> None:
        if len(server.learners) == count:
            here.set()

    async with serve("127.0.0.1", authorise=lambda _learner, _token: None, watch=watch) as server:
        grid = StreamGrid(server, asyncio.get_running_loop(), reason_of)
        federation = FlowerFederation(make_strategy(Strategy(), TrainingConfiguration()), grid)
        parameters = from_arrays([np.zeros(numbers, dtype=np.float32)])
        runner = Round(federation, kinds_of(parameters), Minimums(1, 1), 600)
        names = [f"learner-{number}" for number in range(count)]
        gc.freeze()

        async def one(number: int) -> None:
            nonlocal parameters
            result = await runner.run(number, parameters, names)
            if len(result.trained) != count or len(result.evaluated) != count:
                raise RuntimeError(f"not everyone took part: {result.failures}")
            parameters = result.parameters

        with learners("ours", count, server.port):
            await here.wait()
            return await timed(one, seconds)


async def our_learner(port: int, name: str) -> None:
    """Answers until the connection ends."""
    from flops_federation.adapters.grpc_client import Invitation, join
    from flops_federation.errors import PeerLostError
    from flops_federation.parcels import ConfigValue, Parcel
    from flops_learner.learning import Arrays, Evaluated, Instructions, Trained

    class Empty:
        async def train(self, arrays: Arrays, config: dict[str, ConfigValue], seconds: float) -> Trained:
            return Trained(arrays, 10)

        async def evaluate(self, arrays: Arrays, seconds: float) -> Evaluated:
            return Evaluated(0.5, 0.5, 10)

    instructions = Instructions(Empty(), lambda _number: None, lambda _error: None)

    async def handle(parcel: Parcel) -> Parcel:
        return (await instructions.answer(parcel))[0]

    try:
        await join(Invitation("127.0.0.1", port, name, "", 1), handle)
    except PeerLostError:
        return


async def measure(counts: list[int], megabytes: float, seconds: float, *, with_stock: bool) -> None:
    """Prints both tables. The two are measured in turn, so that the load of the machine is the same for both."""
    rows: list[list[object]] = []
    for count in counts:
        hand = await loop_by_hand(count, SMALL, seconds)
        own = await ours(count, SMALL, seconds)
        row: list[object] = [count, hand * 1000, own * 1000, own / hand]
        if with_stock:
            flower = await anyio.to_thread.run_sync(stock.seconds_a_round, count)
            row += [flower * 1000, flower / own]
        rows.append(row)
    columns = ["learners", "loop, ms", "ours, ms", "ours / loop"]
    show("A round of empty training", [*columns, *(["stock, ms", "stock / ours"] if with_stock else [])], rows)
    numbers = int(megabytes * 1_000_000 / 4)
    hand = await loop_by_hand(2, numbers, seconds)
    own = await ours(2, numbers, seconds)
    show(f"The same with {megabytes:g} MB of parameters", columns, [[2, hand * 1000, own * 1000, own / hand]])


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--learners", type=int, nargs="+", default=[2, 10, 20])
    parser.add_argument("--megabytes", type=float, default=25)
    parser.add_argument("--seconds", type=float, default=5, help="how long each is measured")
    parser.add_argument("--stock", action="store_true")
    parser.add_argument("--learner", nargs=3, metavar=("KIND", "PORT", "NAME"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.learner is not None:
        kind, port, name = arguments.learner
        asyncio.run(learner_by_hand(int(port)) if kind == "hand" else our_learner(int(port), name))
        return
    print(machine())
    asyncio.run(measure(arguments.learners, arguments.megabytes, arguments.seconds, with_stock=arguments.stock))


if __name__ == "__main__":
    main()
