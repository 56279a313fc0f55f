"""Answers what the aggregator asks: trains or evaluates with the parameters that came, and sends what came out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy.typing as npt
import structlog
from flops_federation.npy import read_npy, write_npy
from flops_federation.parcels import ArrayData, ConfigValue, Failure, MetricValue, Parcel
from flops_protocol.errors import ErrorBody, FlopsError

ARRAYS, CONFIG, METRICS = "arrays", "config", "metrics"
"""The names of the records, which are Flower's defaults."""
SAMPLES, LOSS, ACCURACY, TRAIN_LOSS, ROUND = "num-examples", "loss", "accuracy", "train_loss", "server-round"
DEADLINE = "deadline-seconds"
DEFAULT_SECONDS = 3600.0
CODE_FAILED = 2
"""Flower's error code for an exception in the ClientApp."""

log = structlog.get_logger()

Arrays = Sequence[npt.NDArray[Any]]


class Trained(NamedTuple):
    """What training brought."""

    arrays: Arrays
    samples: int


class Evaluated(NamedTuple):
    """What evaluating brought."""

    loss: float
    accuracy: float
    samples: int


class Model(Protocol):
    """The repository's model with this learner's data. Each call takes at most its seconds.

    :raises FlopsError: when the code fails; `WorkerEndedError` when it cannot go on after that
    """

    async def train(self, arrays: Arrays, config: dict[str, ConfigValue], seconds: float) -> Trained:
        """Trains from these parameters; `config` is what the strategy tells the code, bytes left out."""
        ...

    async def evaluate(self, arrays: Arrays, seconds: float) -> Evaluated:
        """Evaluates these parameters."""
        ...


class WorkerEndedError(FlopsError):
    """Raised when the code's process is gone, with the reason."""


class Instructions:
    """Carries out the aggregator's instructions, one after the other."""

    def __init__(self, model: Model, on_round: Callable[[int], None], on_error: Callable[[ErrorBody], None]) -> None:
        """`on_round` is called with the round of each instruction, `on_error` with every failure."""
        self._model = model
        self._on_round = on_round
        self._on_error = on_error

    async def answer(self, parcel: Parcel) -> tuple[Parcel, WorkerEndedError | None]:
        """The answer to an instruction; beside it, why there will be no further one."""
        received = time.monotonic()
        config = next(iter(parcel.configs.values()), {})
        number = config.get(ROUND)
        self._on_round(number if isinstance(number, int) else 0)
        given = parcel.metadata.get(DEADLINE)
        deadline = received + _own_share(float(given) if isinstance(given, int | float) else DEFAULT_SECONDS)
        try:
            arrays = [read_npy(data.data) for data in next(iter(parcel.arrays.values()), {}).values()]
            if parcel.kind == "train":
                return await self._train(arrays, config, deadline), None
            if parcel.kind == "evaluate":
                return await self._evaluate(arrays, deadline), None
            unknown = FlopsError("FLOPS-P010", f"the aggregator asked for {parcel.kind}")
            return self._failed(parcel.kind, unknown), None
        except WorkerEndedError as error:
            return self._failed(parcel.kind, error), error
        except FlopsError as error:
            return self._failed(parcel.kind, error), None
        except ValueError as error:
            return self._failed(parcel.kind, FlopsError("FLOPS-T005", f"the parameters that came: {error}")), None

    async def _train(self, arrays: Arrays, config: dict[str, ConfigValue], deadline: float) -> Parcel:
        metrics: dict[str, MetricValue] = {}
        if config.get(TRAIN_LOSS):
            metrics[TRAIN_LOSS] = (await self._model.evaluate(arrays, deadline - time.monotonic())).loss
        told = {name: value for name, value in config.items() if name != TRAIN_LOSS and _readable(value)}
        trained = await self._model.train(arrays, told, deadline - time.monotonic())
        metrics[SAMPLES] = trained.samples
        sent: dict[str, ArrayData] = {str(index): write_npy(array) for index, array in enumerate(trained.arrays)}
        return Parcel("train", arrays={ARRAYS: sent}, metrics={METRICS: metrics})

    async def _evaluate(self, arrays: Arrays, deadline: float) -> Parcel:
        evaluated = await self._model.evaluate(arrays, deadline - time.monotonic())
        metrics: dict[str, MetricValue] = {
            LOSS: evaluated.loss,
            ACCURACY: evaluated.accuracy,
            SAMPLES: evaluated.samples,
        }
        return Parcel("evaluate", metrics={METRICS: metrics})

    def _failed(self, kind: str, error: FlopsError) -> Parcel:
        log.error("the instruction failed", kind=kind, error=str(error))
        self._on_error(error.body)
        return Parcel(kind, failure=Failure(CODE_FAILED, error.body.model_dump_json()))


def _readable(value: ConfigValue) -> bool:
    return not any(isinstance(each, bytes) for each in (value if isinstance(value, list) else [value]))


def _own_share(seconds: float) -> float:
    """What of the aggregator's patience the code may take, so that our answer about a code that hangs is in time."""
    return max(seconds - min(2.0, 0.1 * seconds), 0.0)
