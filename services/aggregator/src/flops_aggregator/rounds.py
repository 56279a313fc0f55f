"""One round: training and evaluation by whoever is here, within its deadline, by quorum."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy.typing as npt
from anyio import to_thread
from flops_protocol.errors import ErrorBody, FlopsError
from flops_protocol.messages.project import RoundMetrics

from flops_aggregator.parameters import Kind, Parameters, as_kinds, require_same_kind
from flops_aggregator.quorum import AfterRound, after_answers

Phase = Literal["train", "evaluate"]
TRAIN_SHARE = 0.8
"""The part of a round's time that training may take; what is left is the evaluation's, so that code that hangs in
training leaves it time."""
LOSS, ACCURACY, SAMPLES = "loss", "accuracy", "num-examples"


@dataclass(frozen=True)
class Answer:
    """What one learner sent back: content, or why there is none. `message` is the federation's own."""

    learner: str
    error: ErrorBody | None
    message: Any = None
    arrays: Parameters = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)


class Federation(Protocol):
    """A strategy over a grid, as rounds need it."""

    async def ask(
        self, phase: Phase, number: int, parameters: Parameters, learners: Sequence[str], seconds: float
    ) -> list[Answer]:
        """Has the strategy choose among the learners, asks those, and returns when all have answered or can not."""
        ...

    def merge_training(self, number: int, answers: Sequence[Answer]) -> Parameters:
        """The strategy's new parameters. Blocks: call it in a thread.

        :raises FlopsError: FLOPS-T014 when the strategy cannot make any of these answers
        """
        ...

    def merge_evaluation(self, number: int, answers: Sequence[Answer]) -> dict[str, float]:
        """The strategy's metrics over all answers.

        :raises FlopsError: FLOPS-T014 when the strategy cannot make any of these answers
        """
        ...

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """What the strategy remembers from round to round; what it gives is not changed later."""
        ...

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Gives a new strategy what `state` gave."""
        ...


@dataclass(frozen=True)
class Minimums:
    """How many learners have to answer."""

    fit: int
    evaluate: int


@dataclass(frozen=True)
class RoundResult:
    """A round that came to its end."""

    round: int
    parameters: Parameters
    metrics: RoundMetrics
    trained: tuple[str, ...]
    evaluated: tuple[str, ...]
    samples: int
    failures: Mapping[str, ErrorBody]
    """Why a learner that was asked is not among the others; the first reason of each."""
    seconds: float


class ShortOfLearnersError(Exception):
    """Raised when too few answered, and the round is worth another try. `failures` says why each did not."""

    def __init__(self, failures: Mapping[str, ErrorBody]) -> None:
        super().__init__(", ".join(sorted(failures)))
        self.failures = failures


class Round:
    """Runs one round, by the model's kinds and the minimums of the SLA."""

    def __init__(self, federation: Federation, kinds: Sequence[Kind], minimums: Minimums, round_seconds: float) -> None:
        self._federation = federation
        self._kinds = kinds
        self._minimums = minimums
        self._seconds = round_seconds

    async def run(self, number: int, parameters: Parameters, learners: Sequence[str], *, tries: int = 1) -> RoundResult:
        """Trains and evaluates once; takes at most the round's seconds, and what the strategy computes.

        :param tries: how often this round has been tried, with this time
        :raises ShortOfLearnersError: when too few answered, but those that were lost may come back
        :raises FlopsError: when too few answered for another reason, or the strategy cannot go on
        """
        began = time.monotonic()
        failures: dict[str, ErrorBody] = {}
        answers = await self._federation.ask("train", number, parameters, learners, self._seconds * TRAIN_SHARE)
        trained = await to_thread.run_sync(self._sound_training, answers, failures)
        self._require(trained, failures, self._minimums.fit, tries, "min_fit_clients")
        merged = await to_thread.run_sync(self._merge, number, trained)
        left = self._seconds - (time.monotonic() - began)
        # Who was lost in training is not asked again; who only failed may evaluate.
        here = [learner for learner in learners if not _gone(failures.get(learner))]
        answers = await self._federation.ask(
            "evaluate", number, merged, here, max(left, self._seconds * (1 - TRAIN_SHARE))
        )
        evaluated = _sound_evaluation(answers, failures)
        self._require(evaluated, failures, self._minimums.evaluate, tries, "min_evaluate_clients")
        metrics = self._federation.merge_evaluation(number, evaluated)
        return RoundResult(
            round=number,
            parameters=merged,
            metrics=_round_metrics(number, metrics),
            trained=tuple(answer.learner for answer in trained),
            evaluated=tuple(answer.learner for answer in evaluated),
            samples=sum(int(answer.metrics[SAMPLES]) for answer in trained),
            failures=failures,
            seconds=time.monotonic() - began,
        )

    def _sound_training(self, answers: Sequence[Answer], failures: dict[str, ErrorBody]) -> list[Answer]:
        return [answer for answer in answers if self._sound(answer, failures)]

    def _sound(self, answer: Answer, failures: dict[str, ErrorBody]) -> bool:
        if answer.error is not None:
            failures.setdefault(answer.learner, answer.error)
            return False
        try:
            require_same_kind(answer.arrays, self._kinds)
            _require_samples(answer.metrics, "FLOPS-T003")
        except FlopsError as error:
            failures.setdefault(answer.learner, error.body)
            return False
        return True

    def _merge(self, number: int, answers: Sequence[Answer]) -> Parameters:
        return as_kinds(self._federation.merge_training(number, answers), self._kinds)

    def _require(
        self, sound: Sequence[Answer], failures: Mapping[str, ErrorBody], minimum: int, tries: int, field: str
    ) -> None:
        answered = {answer.learner for answer in sound}
        others = {learner: error for learner, error in failures.items() if learner not in answered}
        if after_answers(others, len(sound), minimum, tries=tries, field=field) is AfterRound.AGAIN:
            raise ShortOfLearnersError(others)


def better(new: RoundMetrics, old: RoundMetrics | None) -> bool:
    """Whether a round is the best so far: the higher accuracy, then the lower loss."""
    return old is None or (new.accuracy, -new.loss) > (old.accuracy, -old.loss)


def _sound_evaluation(answers: Sequence[Answer], failures: dict[str, ErrorBody]) -> list[Answer]:
    sound = []
    for answer in answers:
        if answer.error is not None:
            failures.setdefault(answer.learner, answer.error)
            continue
        try:
            _require_number(answer, LOSS)
            _require_number(answer, ACCURACY)
            _require_samples(answer.metrics, "FLOPS-T004")
        except FlopsError as error:
            failures.setdefault(answer.learner, error.body)
            continue
        sound.append(answer)
    return sound


def _require_number(answer: Answer, name: str) -> None:
    value = answer.metrics.get(name)
    if not isinstance(value, int | float):
        raise FlopsError("FLOPS-T004", f"{answer.learner} sent no {name}")
    if not math.isfinite(value):
        raise FlopsError("FLOPS-T006", f"the {name} of {answer.learner} is not finite")


def _require_samples(metrics: Mapping[str, Any], code: str) -> None:
    samples = metrics.get(SAMPLES)
    if not isinstance(samples, int) or isinstance(samples, bool) or samples < 1:
        raise FlopsError(code, f"the number of samples is {samples!r}")


def _round_metrics(number: int, metrics: Mapping[str, float]) -> RoundMetrics:
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise FlopsError("FLOPS-T006", f"{name} over all learners is not finite")
    more = {name: float(value) for name, value in metrics.items() if name not in {LOSS, ACCURACY}}
    return RoundMetrics(round=number, loss=metrics[LOSS], accuracy=metrics[ACCURACY], more=more)


def _gone(error: ErrorBody | None) -> bool:
    return error is not None and error.code in {"FLOPS-T008", "FLOPS-T009", "FLOPS-T010", "FLOPS-T012"}
