"""Learners in this process, on real streams: each has a line's points and takes gradient steps."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import numpy as np
from flops_aggregator.adapters.flower_federation import FlowerFederation, reason_of
from flops_aggregator.adapters.strategies import make_strategy
from flops_aggregator.adapters.stream_grid import StreamGrid
from flops_aggregator.parameters import Parameters, from_arrays, kinds_of
from flops_aggregator.rounds import Minimums, Round
from flops_federation.adapters.grpc_client import Invitation, join
from flops_federation.adapters.grpc_server import Joined, Left, StreamServer, serve
from flops_federation.parcels import ConfigValue, Parcel
from flops_learner.learning import Arrays, Evaluated, Instructions, Trained
from flops_protocol.sla import Strategy, TrainingConfiguration


@dataclass
class Line:
    """A model of y = 3x + 0.5 with its own points."""

    number: int
    seen: list[str] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        generator = np.random.default_rng(self.number)
        self.x = generator.uniform(-1, 1, 40 + self.number)
        self.y = 3 * self.x + 0.5

    async def train(self, arrays: Arrays, config: dict[str, ConfigValue], seconds: float) -> Trained:
        """Ten steps."""
        self.seen.append("train")
        weights = np.array(arrays[0], dtype=np.float64)
        for _ in range(10):
            error = weights[0] * self.x + weights[1] - self.y
            weights -= 0.2 * np.array([np.mean(error * self.x), np.mean(error)])
        return Trained([weights.astype(np.float32), arrays[1] + 10], len(self.x))

    async def evaluate(self, arrays: Arrays, seconds: float) -> Evaluated:
        """The mean squared error."""
        self.seen.append("evaluate")
        error = arrays[0][0] * self.x + arrays[0][1] - self.y
        return Evaluated(float(np.mean(error**2)), float(np.mean(np.abs(error) < 0.1)), len(self.x))


FIRST: Parameters = from_arrays([np.zeros(2, dtype=np.float32), np.array(0, dtype=np.int64)])
"""A model of two float32 weights and a counter of steps: the counter must stay whole."""


@dataclass
class Fleet:
    """A server and the learners that joined it."""

    server: StreamServer
    lines: dict[str, Line]
    tasks: dict[str, asyncio.Task[Any]]
    left: list[Left] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """Everyone's name."""
        return list(self.lines)

    def federation(self, name: str = "FedAvg", minimum: int = 1, **arguments: Any) -> FlowerFederation:
        """A strategy over these learners."""
        training = TrainingConfiguration(min_fit_clients=minimum, min_evaluate_clients=minimum)
        strategy = make_strategy(Strategy(name=name, arguments=arguments), training)
        return FlowerFederation(strategy, self.grid())

    def grid(self) -> StreamGrid:
        """A grid over these learners."""
        return StreamGrid(self.server, asyncio.get_running_loop(), reason_of)

    def round(self, federation: FlowerFederation, minimum: int = 1, seconds: float = 20) -> Round:
        """A round with the model's kinds."""
        return Round(federation, kinds_of(FIRST), Minimums(minimum, minimum), seconds)


Handle = Callable[[Parcel], Awaitable[Parcel]]


@asynccontextmanager
async def fleet(count: int, handles: dict[str, Handle] | None = None) -> AsyncIterator[Fleet]:
    """That many learners, joined; `handles` replaces what some of them do with a parcel."""
    here = anyio.Event()
    found: list[Left] = []
    joined: set[str] = set()
    lines = {f"learner-{number}": Line(number) for number in range(count)}

    def watch(change: Joined | Left) -> None:
        if isinstance(change, Left):
            found.append(change)
        else:
            joined.add(change.learner)
        if len(joined) == count:
            here.set()

    async with serve("127.0.0.1", authorise=lambda _learner, _token: None, watch=watch) as server:
        tasks = {}
        for name, line in lines.items():
            instructions = Instructions(line, line.rounds.append, lambda _error: None)

            async def handle(parcel: Parcel, instructions: Instructions = instructions) -> Parcel:
                return (await instructions.answer(parcel))[0]

            chosen = (handles or {}).get(name, handle)
            invitation = Invitation("127.0.0.1", server.port, name, "", 1)
            tasks[name] = asyncio.create_task(join(invitation, chosen))
        with anyio.fail_after(20):
            await here.wait()
        gc.freeze()  # as the aggregator does: QFedAvg and Bulyan collect garbage once a learner
        try:
            yield Fleet(server, lines, tasks, found)
        finally:
            gc.unfreeze()
            await server.dismiss("the test is over")
            await asyncio.gather(*tasks.values(), return_exceptions=True)


def forged(change: Callable[[Parcel], Parcel], line: Line) -> Handle:
    """A learner that changes its answers before it sends them."""
    instructions = Instructions(line, line.rounds.append, lambda _error: None)

    async def handle(parcel: Parcel) -> Parcel:
        return change((await instructions.answer(parcel))[0])

    return handle


def with_metrics(parcel: Parcel, **metrics: Any) -> Parcel:
    """The parcel with other metrics."""
    return replace(parcel, metrics={name: {**record, **metrics} for name, record in parcel.metrics.items()})
