"""Keeps processes running: starts them, starts them again when they die, and ends them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from subprocess import DEVNULL, STDOUT

from anyio import CancelScope, Event, current_time, fail_after, move_on_after, open_process, sleep
from anyio.abc import Process, TaskGroup
from flops_protocol.errors import FlopsError

from flops_cli.mesh.processes import started
from flops_cli.mesh.services import Service, environment_of
from flops_cli.mesh.state import ProcessRecord

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
STEADY_SECONDS = 30.0
"""A process that ran so long is started again at once when it dies."""
LOG_BYTES = 10_000_000
TAIL_LINES = 15


class Supervisor:
    """The processes of one mesh.

    Each runs in a session of its own, so that a Ctrl-C at the terminal reaches only us: we end them in their order.
    """

    def __init__(self, root: Path, logs: Path, *, tell: Callable[[str], None], changed: Callable[[], None]) -> None:
        """`tell` is called with a sentence for people, `changed` after every start of a process."""
        self._root, self._logs, self._tell, self._changed = root, logs, tell, changed
        self._keepers: dict[str, _Keeper] = {}

    @property
    def records(self) -> dict[str, ProcessRecord]:
        """The processes that run, by the service's name."""
        return {
            name: ProcessRecord(pid=keeper.process.pid, started=started(keeper.process.pid))
            for name, keeper in self._keepers.items()
            if keeper.process is not None
        }

    async def start(self, service: Service, group: TaskGroup) -> None:
        """Starts a service, and keeps it running until `stop`.

        :raises FlopsError: FLOPS-P010 when its program cannot be started
        """
        keeper = _Keeper(service, self)
        self._keepers[service.name] = keeper
        await keeper.launch()
        group.start_soon(keeper.keep)

    async def stop(self, name: str) -> None:
        """Ends a service; within its patience kindly, then by force. It is not started again."""
        keeper = self._keepers.pop(name, None)
        if keeper is not None:
            await keeper.stop()

    def check(self, name: str) -> None:
        """For whoever waits for a service to be ready.

        :raises FlopsError: FLOPS-P010 when it died again and again since its start; with the end of its log
        """
        keeper = self._keepers[name]
        if keeper.deaths >= 3:
            raise FlopsError("FLOPS-P010", f"{name} does not start: {self.tail(name)}", file=str(self.log(name)))

    def log(self, name: str) -> Path:
        """Where a service writes."""
        return self._logs / f"{name}.log"

    def tail(self, name: str) -> str:
        """The last lines of a service's log."""
        with self.log(name).open(errors="replace") as lines:
            return "\n".join(line.rstrip() for line in deque(lines, TAIL_LINES))

    async def spawn(self, service: Service) -> Process:
        """A new process of a service, writing to its log."""
        path = self.log(service.name)
        if path.exists() and path.stat().st_size > LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        with path.open("ab") as log:
            return await open_process(
                service.command,
                stdin=DEVNULL,
                stdout=log,
                stderr=STDOUT,
                cwd=self._root,
                env=environment_of(service, self._root),
                start_new_session=True,
            )

    def died(self, service: Service, status: int, pause: float) -> None:
        """A process is gone that should not be."""
        log = self.log(service.name)
        self._tell(f"{service.name} ended with status {status}; it starts again in {pause:.1f} s (log: {log})")

    def running(self) -> None:
        """A process was started."""
        self._changed()


class _Keeper:
    """One service and its process of the moment."""

    def __init__(self, service: Service, supervisor: Supervisor) -> None:
        self.service = service
        self.process: Process | None = None
        self.deaths = 0
        self._supervisor = supervisor
        self._scope = CancelScope()
        self._left = Event()

    async def launch(self) -> None:
        try:
            self.process = await self._supervisor.spawn(self.service)
        except OSError as error:
            raise FlopsError("FLOPS-P010", f"{self.service.command[0]}: {error}") from error
        self._supervisor.running()

    async def keep(self) -> None:
        try:
            with self._scope:
                pause = FIRST_PAUSE
                while True:
                    since = current_time()
                    if self.process is not None:
                        status = await self.process.wait()
                        if current_time() - since >= STEADY_SECONDS:
                            pause, self.deaths = FIRST_PAUSE, 0
                        self.process = None
                        self.deaths += 1
                        self._supervisor.died(self.service, status, pause)
                    await sleep(pause)
                    pause = min(LONGEST_PAUSE, 2 * pause)
                    # Cancelled half-way, it would leave a process that nobody knows of.
                    with CancelScope(shield=True):
                        await self.launch()
        finally:
            self._left.set()

    async def stop(self) -> None:
        self._scope.cancel()
        with CancelScope(shield=True):
            with fail_after(5):
                await self._left.wait()
            process = self.process
            if process is None or process.returncode is not None:
                return
            process.terminate()
            with move_on_after(self.service.patience):
                await process.wait()
                return
            process.kill()
            await process.wait()
