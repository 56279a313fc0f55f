"""One training from the first parameters to the best model."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import anyio
import structlog
from anyio import to_thread
from flops_protocol.errors import FlopsError
from flops_protocol.messages.actors import AggregatorState
from flops_protocol.messages.project import RoundMetrics

from flops_aggregator.announcing import AggregatorAnnouncer
from flops_aggregator.checkpoint import Checkpoint, CheckpointFolder
from flops_aggregator.desk import Wish
from flops_aggregator.parameters import Parameters, kinds_of
from flops_aggregator.quorum import Go, Verdict, Wait, to_begin, to_go_on
from flops_aggregator.recorder import Finished, Metrics, Recorder
from flops_aggregator.roster import Roster
from flops_aggregator.rounds import Federation, Minimums, Round, RoundResult, ShortOfLearnersError, better

LEAVE_SECONDS = 1.0

log = structlog.get_logger()


class Model(Protocol):
    """The repository's model, without data."""

    async def initial_parameters(self, seconds: float) -> Parameters:
        """What the training begins with.

        :raises FlopsError: when the code does not give them
        """
        ...

    async def save(
        self, folder: Path, flavor: str, tracking: Path | None, parameters: Parameters, seconds: float
    ) -> None:
        """Saves the model with these parameters as an MLflow model in a new folder.

        :raises FlopsError: when that fails
        """
        ...


@dataclass(frozen=True)
class Patience:
    """How long learners are waited for; seconds."""

    ready: float
    grace: float
    rejoin: float


@dataclass(frozen=True)
class Trained:
    """What a training brought. `seconds` is what its rounds took, those before a restart included."""

    rounds: int
    best: RoundMetrics
    best_parameters: Parameters
    last: RoundMetrics
    seconds: float


class Training:
    """Runs the rounds that a wish asks for, from the last checkpoint on."""

    def __init__(
        self,
        wish: Wish,
        *,
        roster: Roster,
        announcer: AggregatorAnnouncer,
        federation: Federation,
        model: Model,
        checkpoints: CheckpointFolder,
        metrics: Metrics,
        patience: Patience,
    ) -> None:
        self._wish = wish
        self._roster = roster
        self._announcer = announcer
        self._federation = federation
        self._model = model
        self._checkpoints = checkpoints
        self._metrics = metrics
        self._patience = patience
        training = wish.spec.sla.training_configuration
        self._rounds = training.training_rounds
        self._minimums = Minimums(training.min_fit_clients, training.min_evaluate_clients)

    async def prepare(self) -> Checkpoint:
        """Where the training begins: at the last checkpoint, or at the code's own parameters.

        :raises FlopsError: when the code does not give them
        """
        checkpoint = await to_thread.run_sync(self._checkpoints.load)
        if checkpoint is None:
            checkpoint = Checkpoint(0, await self._model.initial_parameters(self._patience.ready))
        else:
            log.info("resuming", after_round=checkpoint.round)
            self._federation.restore(checkpoint.strategy or {})
        return checkpoint

    async def gather(self, checkpoint: Checkpoint) -> None:
        """Waits for the learners to begin with; nobody is needed where all rounds are done.

        :raises FlopsError: FLOPS-D003 when too few come, or the error that all missing ones tell
        """
        if checkpoint.round >= self._rounds:
            return
        began = time.monotonic()
        minimum = self._wish.spec.sla.training_configuration.min_available_clients
        enough_since: float | None = None

        def decide(now: float) -> Verdict:
            nonlocal enough_since
            if len(self._roster.joined) < minimum:
                enough_since = None
            elif enough_since is None:
                enough_since = now
            return to_begin(
                self._roster.standings,
                minimum,
                now=now,
                deadline=began + self._patience.ready,
                enough_since=enough_since,
                grace=self._patience.grace,
            )

        await self._until(decide)

    async def run(self, checkpoint: Checkpoint) -> Trained:
        """Runs the rounds that are left.

        :raises FlopsError: when it cannot go on
        """
        self._announcer.stand(state=AggregatorState.TRAINING, round=checkpoint.round, best=checkpoint.best)
        if checkpoint.round >= self._rounds:
            log.info("all rounds are done already")
        recorder = Recorder(self._checkpoints, self._metrics, self._announcer, self._rounds, after=checkpoint.round)
        trained: Trained | None = None
        failure: FlopsError | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(recorder.run)
            try:
                await recorder.tell_again(checkpoint)
                trained = await self._run(checkpoint, recorder)
                await recorder.kept(trained.rounds)
            except FlopsError as error:
                # Raised again behind the task group, which would wrap it.
                failure = error
            group.cancel_scope.cancel()
        if trained is None:
            raise failure or RuntimeError("a training ends with a result or with an error")
        return trained

    async def _run(self, checkpoint: Checkpoint, recorder: Recorder) -> Trained:
        one = Round(self._federation, kinds_of(checkpoint.parameters), self._minimums, self._wish.command.round_seconds)
        parameters, last, seconds = checkpoint.parameters, checkpoint.last, checkpoint.seconds
        best, best_parameters = checkpoint.best, checkpoint.best_parameters
        for number in range(checkpoint.round + 1, self._rounds + 1):
            began = time.monotonic()
            result = await self._round(one, number, parameters)
            seconds += time.monotonic() - began
            parameters, last = result.parameters, result.metrics
            is_best = better(last, best)
            if is_best or best is None or best_parameters is None:
                best, best_parameters = last, parameters
            await recorder.put(Finished(result, is_best, best, best_parameters, self._federation.state(), seconds))
        if best is None or best_parameters is None or last is None:
            raise RuntimeError("a training has one round at least")
        return Trained(self._rounds, best, best_parameters, last, seconds)

    async def _round(self, one: Round, number: int, parameters: Parameters) -> RoundResult:
        tries = 0
        while True:
            tries += 1
            learners = await self._enough()
            try:
                return await one.run(number, parameters, learners, tries=tries)
            except ShortOfLearnersError as error:
                reasons = {learner: body.code for learner, body in error.failures.items()}
                log.warning("the round is tried again", round=number, tries=tries, failures=reasons)
                await self._gone(error.failures)

    async def _gone(self, learners: Iterable[str]) -> None:
        """Gives learners that could not answer a moment to leave, so that they are not asked again at once."""
        with anyio.move_on_after(LEAVE_SECONDS):
            while set(learners) & set(self._roster.joined):
                await self._roster.changed()

    async def _enough(self) -> tuple[str, ...]:
        deadline = time.monotonic() + self._patience.rejoin
        minimum = max(self._minimums.fit, self._minimums.evaluate)
        return await self._until(lambda now: to_go_on(self._roster.standings, minimum, now=now, deadline=deadline))

    async def _until(self, decide: Decide) -> tuple[str, ...]:
        while True:
            now = time.monotonic()
            verdict = decide(now)
            if isinstance(verdict, Go):
                return verdict.learners
            if not isinstance(verdict, Wait):
                raise verdict.error
            with anyio.move_on_after(max(verdict.until - now, 0)):
                await self._roster.changed()


class Decide(Protocol):
    """Looks at the learners at a time of the monotonic clock."""

    def __call__(self, now: float, /) -> Verdict:
        """What to do now."""
        ...
