"""The ML worker as its callers see it."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

from flops_mlrepo import frames
from flops_mlrepo.contract import Operation, WorkerFault
from flops_mlrepo.host.channel import ChannelClosedError
from flops_mlrepo.host.errors import WorkerError
from flops_mlrepo.host.process import WorkerProcess, open_process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from flops_mlrepo.host.output import OutputSink
    from flops_mlrepo.host.settings import DataSource, WorkerSettings


class Evaluation(NamedTuple):
    """What evaluate_model() returned: both numbers are finite, samples are above 0."""

    loss: float
    accuracy: float
    samples: int


class Training(NamedTuple):
    """The parameters after fit_model(), all finite, and the number of samples, above 0."""

    parameters: list[np.ndarray]
    samples: int


class MlWorker:
    """Runs a repository's ModelManager in a process of its own.

    One request at a time; further ones wait their turn. A request that runs into its timeout, or whose caller is
    cancelled, ends the worker with everything it started: a half-done call to the code has no state to go on from.
    Every method raises :class:`WorkerError`; after the fault of a live worker (an exception in the code, say), the
    next request is possible. Timeouts are in seconds.
    """

    def __init__(self, process: WorkerProcess, data: DataSource | None, max_parameter_bytes: int) -> None:
        self._process = process
        self._data = data
        self._max_parameter_bytes = max_parameter_bytes
        self._turn = anyio.Lock()
        self._requests = 0
        self._end: WorkerError | None = None
        self.versions: dict[str, str] = {}
        """The worker's `python` and `numpy`."""
        self.in_network = ""
        """Why the code has the network, where it should not."""

    @property
    def pid(self) -> int:
        """The worker's process, which leads a group of its own."""
        return self._process.pid

    async def greet(self, timeout: float) -> None:
        """Waits until the worker listens. :func:`open_worker` does it."""
        head, _ = await self._exchange(None, "starting", timeout)
        self.versions = {name: str(head.get(name)) for name in ("python", "numpy")}
        self.in_network = str(head.get("in-network") or "")
        self._process.ready = True

    async def construct(self, timeout: float) -> None:
        """Imports `model_manager` and constructs its ModelManager. Doing it twice is harmless."""
        await self._request(Operation.CONSTRUCT, timeout)

    async def load_data(self, timeout: float) -> int | None:
        """set_model_data(); the rows that the code was given, None when it asked for none."""
        source = None
        if self._data is not None:
            source = {
                "folder": _absolute(self._data.folder),
                "tags": list(self._data.tags),
                "part": self._data.part,
                "parts": self._data.parts,
            }
        head, _ = await self._request(Operation.LOAD_DATA, timeout, source=source)
        return None if head.get("rows") is None else self._count(head, "rows")

    async def get_parameters(self, timeout: float) -> list[np.ndarray]:
        """The model's parameters, in fresh arrays."""
        return (await self._request(Operation.GET_PARAMETERS, timeout))[1]

    async def set_parameters(self, arrays: Sequence[np.ndarray], timeout: float) -> None:
        """Sets the model's parameters. The shapes must be the model's; the dtypes are made so."""
        await self._request(Operation.SET_PARAMETERS, timeout, arrays)

    async def fit(self, timeout: float) -> int:
        """fit_model(); the number of samples."""
        return self._count((await self._request(Operation.FIT, timeout))[0], "samples")

    async def train(
        self, arrays: Sequence[np.ndarray], timeout: float, config: Mapping[str, Any] | None = None
    ) -> Training:
        """Sets the parameters, fits and gets them back, all in one exchange.

        :param config: given to `set_fit_config()` before, where the code has it; JSON values
        """
        head, trained = await self._request(Operation.TRAIN, timeout, arrays, config=dict(config or {}))
        return Training(trained, self._count(head, "samples"))

    async def evaluate(self, timeout: float, arrays: Sequence[np.ndarray] | None = None) -> Evaluation:
        """evaluate_model(), with these parameters where they are given."""
        head, _ = await self._request(Operation.EVALUATE, timeout, arrays or (), set=arrays is not None)
        return Evaluation(self._number(head, "loss"), self._number(head, "accuracy"), self._count(head, "samples"))

    async def smoke(self, timeout: float) -> int:
        """Constructs, and takes the parameters on the way round. How many arrays they are."""
        return self._count((await self._request(Operation.SMOKE, timeout))[0], "arrays")

    async def rehearse_saving(self, flavor: str, tracking: Path | None, timeout: float) -> dict[str, Any]:
        """Saves the model as it is into nothing: what cannot be saved is known early, and the real saving is faster,
        since everything that it takes is imported. Returns what :meth:`save_model` does."""
        place = "" if tracking is None else _absolute(tracking)
        head, _ = await self._request(Operation.REHEARSE_SAVING, timeout, flavor=flavor, tracking=place)
        return {name: value for name, value in head.items() if name != "id"}

    async def save_model(
        self,
        folder: Path,
        flavor: str,
        tracking: Path | None,
        timeout: float,
        arrays: Sequence[np.ndarray] | None = None,
    ) -> dict[str, Any]:
        """Saves get_model() as an MLflow model, with these parameters where they are given.

        :param folder: is made; must not be there yet
        :param flavor: sklearn, pytorch, keras or tensorflow
        :param tracking: the folder with MLflow, appended to the worker's path; None: the environment has it
        :returns: `signature` (MLflow's document, or None) and `signature_from` (how it was found, for people)
        """
        head, _ = await self._request(
            Operation.SAVE_MODEL,
            timeout,
            arrays or (),
            set=arrays is not None,
            folder=_absolute(folder),
            flavor=flavor,
            tracking="" if tracking is None else _absolute(tracking),
        )
        return {name: value for name, value in head.items() if name != "id"}

    async def _request(
        self, operation: Operation, timeout: float, arrays: Sequence[np.ndarray] = (), **arguments: Any
    ) -> tuple[frames.Head, list[np.ndarray]]:
        async with self._turn:
            if self._end is not None:
                raise self._end
            self._requests += 1
            head = {"id": self._requests, "do": operation.value, **arguments}
            return await self._exchange(frames.encode(head, arrays), operation.value, timeout)

    async def _exchange(
        self, request: list[frames.Buffer] | None, doing: str, timeout: float
    ) -> tuple[frames.Head, list[np.ndarray]]:
        """Sends a request, if there is one, and takes the answer; whatever goes wrong, no half exchange is left."""
        whole = False
        try:
            with anyio.move_on_after(timeout):
                if request is not None:
                    await self._process.channel.send(request)
                head, arrays = await self._process.channel.receive(self._max_parameter_bytes)
                if request is not None:
                    _require_answer(head, self._requests)
                whole = True
            if not whole:
                self._end = await self._process.timeout_error(doing, timeout)
                raise self._end
        except ChannelClosedError:
            self._end = await self._process.end_error(doing)
            raise self._end from None
        except frames.FrameError as error:
            detail = f"in {doing} something else than an answer came from the worker: {error}"
            self._end = WorkerError(WorkerFault.PROTOCOL, detail)
            raise self._end from None
        finally:
            if not whole:
                self._process.kill()
                self._end = self._end or WorkerError(WorkerFault.TIMED_OUT, f"the request {doing} was given up")
        if "fault" in head:
            raise _error_from(head["fault"])
        return head, arrays

    def _count(self, head: frames.Head, name: str) -> int:
        value = head.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise WorkerError(WorkerFault.PROTOCOL, f"the answer has no count {name}")
        return value

    def _number(self, head: frames.Head, name: str) -> float:
        value = head.get(name)
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise WorkerError(WorkerFault.PROTOCOL, f"the answer has no number {name}")
        return float(value)


@asynccontextmanager
async def open_worker(
    settings: WorkerSettings, on_output: OutputSink, start_timeout: float = 60
) -> AsyncIterator[MlWorker]:
    """A worker that listens. On leaving, however that comes about, nothing of it is left.

    :param on_output: called with `stdout` or `stderr` and each line that the code prints
    :raises WorkerError: NOT_STARTED
    """
    async with open_process(settings, on_output) as process:
        worker = MlWorker(process, settings.data, settings.max_parameter_bytes)
        await worker.greet(start_timeout)
        yield worker


def _absolute(path: Path) -> str:
    return str(path.absolute())


def _require_answer(head: frames.Head, request: int) -> None:
    if head.get("id") != request:
        raise frames.FrameError("the answer is to another request")


def _error_from(fault: Any) -> WorkerError:
    """The error that a fault's document stands for, whatever a hostile worker wrote into it."""
    document = fault if isinstance(fault, dict) else {}
    try:
        kind = WorkerFault(document.get("kind"))
    except ValueError:
        kind = WorkerFault.PROTOCOL
    line = document.get("line")
    return WorkerError(
        kind,
        str(document.get("detail", ""))[:4000],
        None if document.get("file") is None else str(document["file"])[:500],
        line if isinstance(line, int) and line > 0 else None,
        str(document.get("trace", ""))[:8000],
    )
