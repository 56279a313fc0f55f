"""The aggregator's own ML worker: it gives the parameters to begin with, and saves the model in the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import structlog
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

from flops_aggregator.parameters import Parameters, from_arrays, to_arrays

log = structlog.get_logger()

_ENDED = frozenset(
    {WorkerFault.MEMORY, WorkerFault.TIMED_OUT, WorkerFault.EXITED, WorkerFault.CRASHED, WorkerFault.PROTOCOL}
)


class AggregatorModel:
    """The repository's model, without data, as `flops_aggregator.training.Model` wants it. See `open_model`."""

    def __init__(self, worker: MlWorker, settings: WorkerSettings, on_output: OutputSink) -> None:
        self._worker = worker
        self._settings = settings
        self._on_output = on_output

    async def initial_parameters(self, seconds: float) -> Parameters:
        """See `Model.initial_parameters`."""
        with _as_flops_error():
            await self._worker.construct(seconds)
            return from_arrays(await self._worker.get_parameters(seconds))

    async def save(
        self, folder: Path, flavor: str, tracking: Path | None, parameters: Parameters, seconds: float
    ) -> None:
        """See `Model.save`."""
        with _as_flops_error():
            try:
                await _save(self._worker, folder, flavor, tracking, parameters, seconds)
            except WorkerError as error:
                if error.kind not in _ENDED:
                    raise
                # Since the beginning of the training, a worker that waited may have been killed by anything.
                log.warning("the ML worker is started again to save the model", reason=str(error))
                async with open_worker(self._settings, self._on_output) as worker:
                    await _save(worker, folder, flavor, tracking, parameters, seconds)


async def _save(
    worker: MlWorker, folder: Path, flavor: str, tracking: Path | None, parameters: Parameters, seconds: float
) -> None:
    await worker.construct(seconds)
    found = await worker.save_model(folder, flavor, tracking, seconds, to_arrays(parameters))
    log.info("the model is saved", signature_from=found.get("signature_from"))


@asynccontextmanager
async def open_model(settings: WorkerSettings, on_output: OutputSink) -> AsyncIterator[AggregatorModel]:
    """The model, whose worker ends with the block.

    :raises FlopsError: when the worker does not come up
    """
    with _as_flops_error():
        async with open_worker(settings, on_output) as worker:
            yield AggregatorModel(worker, settings, on_output)


@contextmanager
def _as_flops_error() -> Iterator[None]:
    try:
        yield
    except WorkerError as error:
        detail = f"aggregator: {error.detail}"
        raise FlopsError(TRAINING_CODES[error.kind], detail, file=error.file, line=error.line) from error
