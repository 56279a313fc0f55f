"""Rounds over Flower: a strategy that chooses and merges, and the grid that carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
import orjson
from anyio import to_thread
from flops_federation.errors import AnswerTimeoutError, StreamError
from flops_federation.flower import WireArray, data_of
from flops_protocol.errors import ErrorBody, FlopsError
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp.exception import AppExitException
from flwr.serverapp.strategy import FedAvg
from pydantic import ValidationError

from flops_aggregator.adapters.strategies import TRAIN_LOSS, needs_train_loss, restore, state_of
from flops_aggregator.adapters.stream_grid import StreamGrid
from flops_aggregator.parameters import Parameters, as_numbers
from flops_aggregator.rounds import Answer, Phase

ARRAYS, CONFIG, METRICS = "arrays", "config", "metrics"
"""The names of the records, which are Flower's defaults."""


class FlowerFederation:
    """A strategy on a grid, as `flops_aggregator.rounds.Federation` wants it."""

    def __init__(self, strategy: FedAvg, grid: StreamGrid) -> None:
        self._strategy = strategy
        self._grid = grid
        self._minimums = strategy.min_train_nodes, strategy.min_evaluate_nodes

    async def ask(
        self, phase: Phase, number: int, parameters: Parameters, learners: Sequence[str], seconds: float
    ) -> list[Answer]:
        """See `Federation.ask`."""
        messages = await to_thread.run_sync(self._configure, phase, number, parameters, learners)
        replies = await self._grid.exchange(messages, seconds)
        names = {message.metadata.dst_node_id: self._grid.name_of(message.metadata.dst_node_id) for message in messages}
        return [_answer(names[reply.metadata.src_node_id], reply) for reply in replies]

    def _configure(self, phase: Phase, number: int, parameters: Parameters, learners: Sequence[str]) -> list[Message]:
        arrays = ArrayRecord()
        for index, data in enumerate(parameters):
            arrays[str(index)] = WireArray(as_numbers(data))
        # Flower waits without an end for more learners than there are.
        here = len(learners)
        self._strategy.min_train_nodes, self._strategy.min_evaluate_nodes = (min(m, here) for m in self._minimums)
        config = ConfigRecord()
        self._grid.limit_to(learners)
        if phase == "train":
            if needs_train_loss(self._strategy):
                config[TRAIN_LOSS] = True
            messages = list(self._strategy.configure_train(number, arrays, config, self._grid))
        else:
            messages = list(self._strategy.configure_evaluate(number, arrays, config, self._grid))
        for content in {id(message.content): message.content for message in messages}.values():
            content[ARRAYS] = _in_own_kinds(content[ARRAYS], parameters)
        return messages

    def merge_training(self, number: int, answers: Sequence[Answer]) -> Parameters:
        """See `Federation.merge_training`."""
        try:
            messages = [_with_numbers(answer) for answer in answers]
            arrays, _ = self._strategy.aggregate_train(number, messages)
        except (AppExitException, ArithmeticError, ValueError, IndexError) as error:
            raise FlopsError("FLOPS-T014", f"{_name(self._strategy)}, {len(answers)} learners: {error}") from error
        if arrays is None:
            name = _name(self._strategy)
            raise FlopsError("FLOPS-T014", f"{name} makes nothing of the answers of {len(answers)} learners")
        return tuple(data_of(array) for array in arrays.values())

    def merge_evaluation(self, number: int, answers: Sequence[Answer]) -> dict[str, float]:
        """See `Federation.merge_evaluation`."""
        try:
            metrics = self._strategy.aggregate_evaluate(number, [answer.message for answer in answers])
        except (AppExitException, ArithmeticError, ValueError) as error:
            raise FlopsError("FLOPS-T014", f"{_name(self._strategy)}: {error}") from error
        return {name: float(value) for name, value in (metrics or {}).items() if isinstance(value, int | float)}

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """See `Federation.state`."""
        return state_of(self._strategy)

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """See `Federation.restore`."""
        restore(self._strategy, state)


def reason_of(learner: str, error: StreamError) -> str:
    """Why a learner did not answer, as the error that an `Answer` carries."""
    code = "FLOPS-T008" if isinstance(error, AnswerTimeoutError) else "FLOPS-T012"
    detail = str(error) if str(error).startswith(learner) else f"{learner}: {error}"
    return FlopsError(code, detail).body.model_dump_json()


def _in_own_kinds(record: ArrayRecord, parameters: Parameters) -> ArrayRecord:
    """Learners get counters as counters: only strategies want them as floats."""
    sent = ArrayRecord()
    for (key, array), data in zip(record.items(), parameters, strict=True):
        sent[key] = WireArray(data) if array.dtype != data.dtype else array
    return sent


def _with_numbers(answer: Answer) -> Message:
    record = next(iter(answer.message.content.array_records.values()))
    for key, data in zip(list(record), answer.arrays, strict=True):
        numbers = as_numbers(data)
        if numbers is not data:
            record[key] = WireArray(numbers)
    return answer.message


def _answer(learner: str, reply: Message) -> Answer:
    if reply.has_error():
        return Answer(learner, _error(learner, reply.error.reason or ""))
    records = list(reply.content.values())
    arrays: ArrayRecord = next((record for record in records if isinstance(record, ArrayRecord)), ArrayRecord())
    metrics: MetricRecord = next((record for record in records if isinstance(record, MetricRecord)), MetricRecord())
    return Answer(learner, None, reply, tuple(data_of(array) for array in arrays.values()), dict(metrics.items()))


def _error(learner: str, reason: str) -> ErrorBody:
    try:
        return ErrorBody.model_validate(orjson.loads(reason), extra="ignore")
    except (orjson.JSONDecodeError, ValidationError):
        return FlopsError("FLOPS-T007", f"{learner}: {reason[:2000]}").body


def _name(strategy: FedAvg) -> str:
    return type(strategy).__name__
