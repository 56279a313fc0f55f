"""Keeps the tracker running beside the training, and never lets the training wait for it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import structlog
from anyio.abc import Process

from flops_aggregator.tracking import tracker
from flops_aggregator.tracking.journal import EndEntry, Entry, Journal, Progress

log = structlog.get_logger()

RESTART_SECONDS = 1.0


class Tracking:
    """Takes what is to be logged; it is on disk when `record` returns, and in MLflow some time after."""

    def __init__(self, journal: Journal, *, connected: bool) -> None:
        """`connected`: whether there is an MLflow to bring it to. Use :func:`open_tracking`."""
        self._journal = journal
        self._connected = connected
        self._process: Process | None = None
        self._moved = anyio.Event()

    @property
    def folder(self) -> Path:
        """Where a model is saved that is to be logged: its entry names it relative to this folder."""
        return self._journal.folder

    async def record(self, *entries: Entry) -> None:
        """Writes entries into the journal, and wakes the tracker. An entry that is there already changes nothing."""
        if await anyio.to_thread.run_sync(self._journal.append, *entries):
            await self._wake()

    async def finish(self, end: EndEntry, seconds: float) -> Progress:
        """Records the end, then waits at most `seconds` until MLflow has everything; what it has by then.

        Where there is no MLflow, it does not wait.
        """
        await self.record(end)
        if self._connected:
            with anyio.move_on_after(seconds):
                while not (await self._progress()).finished:
                    await self._moved.wait()
        return await self._progress()

    async def _progress(self) -> Progress:
        return await anyio.to_thread.run_sync(lambda: self._journal.progress)

    async def _wake(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            try:
                await self._process.stdin.send(b"\n")
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                log.debug("tracker is being restarted")

    async def _listen(self, process: Process) -> None:
        """The tracker writes something whenever it has moved; until it ends."""
        assert process.stdout is not None  # noqa: S101 - open_process gives a pipe by default
        async for _ in process.stdout:
            self._moved.set()
            self._moved = anyio.Event()

    async def run(self, command: list[str]) -> None:
        """Runs the tracker, and runs it again when it dies, until it has finished."""
        while True:
            with anyio.CancelScope(shield=True):
                # asyncio forgets the pipes of a program whose start is cancelled.
                started = await anyio.open_process(command, stderr=None)
            async with started as process:
                self._process = process
                try:
                    await self._listen(process)
                    await process.wait()
                finally:
                    self._process = None
                    if process.returncode is None:
                        process.kill()
            if (await self._progress()).finished:
                return
            log.warning("tracker ended early", returncode=process.returncode)
            await anyio.sleep(RESTART_SECONDS)


@asynccontextmanager
async def open_tracking(
    folder: Path, uri: str | None, path: Path, python: str = sys.executable
) -> AsyncIterator[Tracking]:
    """Tracking with its journal in `folder`; `path` holds mlflow-skinny, for the interpreter `python`. Without a `uri`,
    nothing leaves the journal.

    On leaving, the tracker is stopped wherever it is; the journal stays.
    """
    journal = await anyio.to_thread.run_sync(Journal, folder)
    tracking = Tracking(journal, connected=uri is not None)
    async with anyio.create_task_group() as group:
        if uri is not None:
            group.start_soon(tracking.run, command(folder, uri, path, python, follow=True))
        try:
            yield tracking
        finally:
            group.cancel_scope.cancel()


def command(folder: Path, uri: str, path: Path, python: str = sys.executable, *, follow: bool) -> list[str]:
    """How the tracker is started; without `follow`, to bring over once what was left behind."""
    program = [
        python,
        "-u",
        "-I",
        "-S",
        str(Path(tracker.__file__)),
        str(folder),
        "--uri",
        uri,
        "--path",
        str(path),
    ]
    return [*program, "--follow"] if follow else program
