"""The worker's process: started, watched, ended with everything that it started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import uuid
from collections import deque
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from flops_mlrepo.contract import WorkerFault
from flops_mlrepo.host.channel import Channel
from flops_mlrepo.host.errors import WorkerError
from flops_mlrepo.host.output import OutputSink, read_lines
from flops_mlrepo.host.proc import anonymous_bytes, end_marked, group_anonymous_bytes
from flops_mlrepo.host.trace import Trace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from anyio.abc import ByteReceiveStream, Process, TaskGroup

    from flops_mlrepo.host.settings import WorkerSettings

_MEMORY_PERIOD = 0.1
_GROUP_PERIOD = 1.0
_GRACE = 1.0
_END = 5.0
_TAIL_LINES = 20
_MARK = "ML_WORKER"


class WorkerProcess:
    """A running worker and what is known of its end."""

    def __init__(self, process: Process, channel: Channel, trace: Trace, memory_bytes: int | None) -> None:
        self.channel = channel
        self.trace = trace
        self.ready = False
        """Whether it has said that it listens."""
        self._process = process
        self._memory_bytes = memory_bytes
        self._over_memory: int | None = None
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)

    @property
    def pid(self) -> int:
        """The process, and the group of everything that it starts."""
        return self._process.pid

    def kill(self) -> None:
        """Ends the whole process group at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    async def leave(self) -> None:
        """Lets the worker end by itself for a moment, so that the code's own clean-up runs."""
        self.channel.close()
        await self._exit_within(_GRACE)

    async def exit_code(self) -> int:
        """The exit code, negative for a signal. A worker that has closed its channel but lives on is killed."""
        await self._exit_within(_GRACE)
        self.kill()
        await self._exit_within(_END)
        return -signal.SIGKILL if self._process.returncode is None else self._process.returncode

    async def _exit_within(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            # Not wait(): it also waits for pipes, which a process that the code started may hold open.
            while self._process.returncode is None:  # noqa: ASYNC110
                await anyio.sleep(0.005)

    async def end_error(self, doing: str) -> WorkerError:
        """Why the worker ended, once its channel is closed.

        :param doing: what it was asked for, for people
        """
        code = await self.exit_code()
        if self._over_memory is not None:
            limit = self._memory_bytes or 0
            detail = f"in {doing} the code took {_megabytes(self._over_memory)}, {_megabytes(limit)} are allowed"
            return WorkerError(WorkerFault.MEMORY, detail)
        if not self.ready:
            said = "\n".join(self._tail) or f"exit code {code}"
            return WorkerError(WorkerFault.NOT_STARTED, f"the ML worker did not come up: {said}")
        file, line = self.trace.place()
        text = self.trace.text()
        if code >= 0:
            detail = f"in {doing} the code ended its process with exit code {code}"
            return WorkerError(WorkerFault.EXITED, detail, file, line, text)
        name = signal.Signals(-code).name
        detail = f"in {doing} the process was ended by {name}"
        if -code == signal.SIGSEGV:
            detail += ", a segmentation fault in compiled code"
        if -code == signal.SIGKILL:
            detail += ", which the kernel sends when memory runs out"
        return WorkerError(WorkerFault.CRASHED, detail, file, line, text)

    async def timeout_error(self, doing: str, seconds: float) -> WorkerError:
        """Where the code hangs; the worker is killed then."""
        if not self.ready:
            self.kill()
            return WorkerError(WorkerFault.NOT_STARTED, f"the ML worker did not come up within {seconds:g} s")
        await self.trace.dump(self.pid)
        self.kill()
        file, line = self.trace.place()
        detail = f"in {doing} the code did not answer within {seconds:g} s"
        return WorkerError(WorkerFault.TIMED_OUT, detail, file, line, self.trace.text())

    def sink(self, given: OutputSink) -> OutputSink:
        """The caller's sink, with the last lines of stderr kept until the worker is up."""

        def keep(stream: str, line: str) -> None:
            if not self.ready and stream == "stderr":
                self._tail.append(line)
            given(stream, line)

        return keep

    async def watch_memory(self) -> None:
        """Kills the worker when it takes more than it may. Runs until it is cancelled."""
        limit = self._memory_bytes
        if limit is None:
            return
        since_group = 0.0
        while True:
            taken = anonymous_bytes(self.pid)
            since_group += _MEMORY_PERIOD
            if taken <= limit and since_group >= _GROUP_PERIOD:
                since_group = 0.0
                taken = await anyio.to_thread.run_sync(group_anonymous_bytes, self.pid)
            if taken > limit:
                self._over_memory = taken
                self.kill()
                return
            await anyio.sleep(_MEMORY_PERIOD)

    async def watch_exit(self) -> None:
        """Closes the channel when the process ends, should something it started still hold the other end."""
        await self._process.wait()
        self.channel.shut()


@asynccontextmanager
async def open_process(settings: WorkerSettings, sink: OutputSink) -> AsyncIterator[WorkerProcess]:
    """A started worker. On leaving, nothing of it is left: no process, no descriptor, no scratch folder.

    :raises WorkerError: NOT_STARTED, when there is no such interpreter
    """
    with _scratch(settings.scratch) as scratch, tempfile.TemporaryFile() as trace_file:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            trace = Trace(trace_file, settings.code)
            mark = uuid.uuid4().hex
            started = await _start(settings, scratch, mark, theirs.fileno(), trace.fd)
            theirs.close()
            worker = WorkerProcess(started, Channel(ours), trace, settings.memory_bytes)
            failure: Exception | None = None
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(worker.watch_exit)
                    tasks.start_soon(worker.watch_memory)
                    printed = [_read_all(tasks, stream, name, worker.sink(sink)) for stream, name in _outputs(started)]
                    try:
                        yield worker
                    except Exception as error:  # noqa: BLE001
                        # Raised again behind the task group, which would wrap it.
                        failure = error
                    if failure is None:
                        await worker.leave()
                    worker.kill()
                    end_marked(f"{_MARK}={mark}")
                    with anyio.move_on_after(_GRACE):
                        for done in printed:
                            await done.wait()
                    tasks.cancel_scope.cancel()
            finally:
                worker.kill()
                end_marked(f"{_MARK}={mark}")
                ours.close()
                with anyio.CancelScope(shield=True), anyio.move_on_after(_END):
                    await started.aclose()
            if failure is not None:
                raise failure


async def _start(settings: WorkerSettings, scratch: Path, mark: str, channel: int, trace: int) -> Process:
    try:
        with anyio.CancelScope(shield=True):
            # asyncio forgets the pipes of a program whose start is cancelled.
            started = await anyio.open_process(
                settings.command(channel, trace),
                stdin=subprocess.DEVNULL,
                cwd=settings.code,
                env={**settings.environment(scratch), _MARK: mark},
                start_new_session=True,
                pass_fds=(channel, trace),
            )
    except OSError as error:
        raise WorkerError(WorkerFault.NOT_STARTED, f"the ML worker cannot be started: {error}") from error
    return started


def _outputs(process: Process) -> list[tuple[ByteReceiveStream, str]]:
    pairs = [(process.stdout, "stdout"), (process.stderr, "stderr")]
    return [(stream, name) for stream, name in pairs if stream is not None]


def _read_all(tasks: TaskGroup, stream: ByteReceiveStream, name: str, sink: OutputSink) -> anyio.Event:
    done = anyio.Event()

    async def read() -> None:
        await read_lines(stream, name, sink)
        done.set()

    tasks.start_soon(read)
    return done


@contextmanager
def _scratch(given: Path | None) -> Iterator[Path]:
    """The folder for HOME and TMPDIR; one of our own goes again, even where the code has left odd rights behind."""
    if given is None:
        with (
            tempfile.TemporaryDirectory(prefix="ml-worker-", ignore_cleanup_errors=True) as made,
            _scratch(Path(made)) as scratch,
        ):
            yield scratch
        return
    for name in ("home", "tmp"):
        (given / name).mkdir(parents=True, exist_ok=True)
    yield given


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB"
