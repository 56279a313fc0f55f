"""Keeps what rounds brought: on disk first, then told. The next round does not wait for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import anyio
import numpy.typing as npt
import structlog
from anyio import to_thread
from flops_protocol.channels import ROUNDS
from flops_protocol.messages.actors import LearnerFailure, RoundReport
from flops_protocol.messages.project import RoundMetrics

from flops_aggregator.announcing import AggregatorAnnouncer
from flops_aggregator.checkpoint import Checkpoint, CheckpointFolder
from flops_aggregator.parameters import Parameters
from flops_aggregator.rounds import RoundResult

BACKLOG = 64
"""Rounds that may wait to be kept; then training waits for the disk."""

log = structlog.get_logger()


class Metrics(Protocol):
    """Where the metrics of a round are kept for MLflow."""

    async def rounds_finished(self, rounds: Sequence[RoundMetrics]) -> None:
        """On disk when it returns."""
        ...


@dataclass(frozen=True)
class Finished:
    """A finished round, with how the training stands after it."""

    result: RoundResult
    is_best: bool
    best: RoundMetrics
    best_parameters: Parameters
    strategy: Mapping[str, npt.NDArray[Any]]
    seconds: float
    """What all rounds so far took."""

    def checkpoint(self, recent: Sequence[RoundReport]) -> Checkpoint:
        """The training as it is after this round."""
        return Checkpoint(
            self.result.round,
            self.result.parameters,
            self.result.metrics,
            self.best,
            self.best_parameters,
            self.strategy,
            self.seconds,
            tuple(recent),
        )


class Recorder:
    """Takes finished rounds in their order.

    A round is told, to MLflow and on the bus, only when a checkpoint of it or of a later one is on disk: what was told
    is not done again. One that was kept but may not have been told is told after the restart; so each is told at least
    once. Rounds that end faster than the disk writes share a checkpoint.
    """

    def __init__(
        self, folder: CheckpointFolder, metrics: Metrics, announcer: AggregatorAnnouncer, rounds: int, *, after: int = 0
    ) -> None:
        """`after`: the round that the training goes on from."""
        self._folder = folder
        self._metrics = metrics
        self._announcer = announcer
        self._rounds = rounds
        self._send, self._receive = anyio.create_memory_object_stream[Finished](BACKLOG)
        self._recorded = after
        self._moved = anyio.Event()

    async def put(self, finished: Finished) -> None:
        """Takes a round; waits only when the disk is far behind."""
        await self._send.send(finished)

    async def kept(self, number: int) -> None:
        """Waits until the round is kept and told."""
        while self._recorded < number:
            await self._moved.wait()

    async def run(self) -> None:
        """Keeps rounds until it is cancelled."""
        with self._send, self._receive:
            async for first in self._receive:
                batch = [first]
                while self._receive.statistics().current_buffer_used:
                    batch.append(self._receive.receive_nowait())
                await self._keep(batch)

    async def tell_again(self, checkpoint: Checkpoint) -> None:
        """Tells what an earlier process may not have come to tell."""
        await self._tell(checkpoint.recent)

    async def _keep(self, batch: list[Finished]) -> None:
        reports = [self._report(finished) for finished in batch]
        newest = batch[-1].checkpoint(reports)
        try:
            await to_thread.run_sync(self._folder.save, newest)
        except OSError as error:
            # Without a checkpoint, a restart begins earlier; that is no reason to stop now.
            log.error("no checkpoint", round=newest.round, reason=str(error))  # noqa: TRY400
        await self._tell(reports)
        self._announcer.stand(round=newest.round, best=newest.best)
        self._recorded = newest.round
        self._moved.set()
        self._moved = anyio.Event()

    async def _tell(self, reports: Sequence[RoundReport]) -> None:
        await self._metrics.rounds_finished([report.metrics for report in reports if report.metrics is not None])
        for report in reports:
            self._announcer.say(ROUNDS, report)

    def _report(self, finished: Finished) -> RoundReport:
        result = finished.result
        return RoundReport(
            project=self._announcer.status.project,
            round=result.round,
            rounds=self._rounds,
            metrics=result.metrics,
            trained=list(result.trained),
            evaluated=list(result.evaluated),
            samples=result.samples,
            failures=[LearnerFailure(learner=name, error=error) for name, error in result.failures.items()],
            best=finished.is_best,
            seconds=result.seconds,
        )
