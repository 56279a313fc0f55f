"""The learner's ML worker: the repository's code, with this learner's part of the node's data."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from flops_federation.parcels import ConfigValue
from flops_mlrepo.host import (
    TRAINING_CODES,
    MlWorker,
    OutputSink,
    WorkerError,
    WorkerFault,
    WorkerSettings,
    open_worker,
)
from flops_protocol.errors import FlopsError

from flops_learner.learning import Arrays, Evaluated, Trained, WorkerEndedError

_ENDED = frozenset(
    {
        WorkerFault.MEMORY,
        WorkerFault.TIMED_OUT,
        WorkerFault.EXITED,
        WorkerFault.CRASHED,
        WorkerFault.PROTOCOL,
        WorkerFault.NOT_STARTED,
    }
)


class LearnerModel:
    """The repository's model, as `flops_learner.learning.Model` wants it. See `open_model`."""

    def __init__(self, worker: MlWorker) -> None:
        self._worker = worker
        self.rows: int | None = None
        """The rows that the code was given; None when it asked for none."""

    async def load(self, seconds: float) -> None:
        """Constructs the model and gives it the data.

        :raises FlopsError: when the code fails, or cannot read the data
        """
        with _as_flops_error():
            await self._worker.construct(seconds)
            self.rows = await self._worker.load_data(seconds)

    async def train(self, arrays: Arrays, config: dict[str, ConfigValue], seconds: float) -> Trained:
        """See `Model.train`."""
        with _as_flops_error():
            trained = await self._worker.train(arrays, seconds, config)
        return Trained(trained.parameters, trained.samples)

    async def evaluate(self, arrays: Arrays, seconds: float) -> Evaluated:
        """See `Model.evaluate`."""
        with _as_flops_error():
            return Evaluated(*await self._worker.evaluate(seconds, arrays))


@asynccontextmanager
async def open_model(settings: WorkerSettings, on_output: OutputSink, seconds: float) -> AsyncIterator[LearnerModel]:
    """The model with its data loaded; its worker ends with the block.

    :raises FlopsError: when the worker does not come up, the code fails, or cannot read the data
    """
    with _as_flops_error():
        async with open_worker(settings, on_output, start_timeout=seconds) as worker:
            model = LearnerModel(worker)
            await model.load(seconds)
            yield model


@contextmanager
def _as_flops_error() -> Iterator[None]:
    try:
        yield
    except WorkerError as error:
        kind = WorkerEndedError if error.kind in _ENDED else FlopsError
        raise kind(TRAINING_CODES[error.kind], error.detail, file=error.file, line=error.line) from error
