"""Programs that are not trusted: without a network, the mesh's secrets, or more of the machine than is allowed."""

from __future__ import annotations

import json
import os
import re
import sys
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
from flops_mlrepo.host import anonymous_bytes_of, end_marked, isolation_file, marked_processes
from flops_protocol.errors import FlopsError

from flops_builder.failing import tasks
from flops_builder.process import run

CONFINE = Path(__file__).with_name("confine.py")
MARK = "FLOPS_SANDBOX"
PASSED_ON = ("LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "CC", "CXX", "FC", "AR", "LD")
TOO_BIG = re.compile(r"file too large|bigger than this machine allows|os error 27", re.IGNORECASE)
PERIOD = 0.2
TAIL = 40
MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """How much of the machine a program may have, with all that it starts."""

    seconds: float
    memory_bytes: int
    processes: int
    file_bytes: int
    """How big a file that it writes may become."""


@dataclass(frozen=True)
class Ended:
    """How a confined program ended."""

    returncode: int
    tail: tuple[str, ...]
    """The last lines that it printed."""
    in_network: str
    """Why it had the network; empty where it had none."""


class OverLimitError(Exception):
    """Raised when a program was ended because it took more than it may. Its text says of what, and how much."""


@dataclass(frozen=True)
class Sandbox:
    """Runs programs within limits. HOME and TMPDIR lie in `scratch`, which must be there."""

    limits: Limits
    scratch: Path

    async def run(
        self,
        command: Sequence[str | Path],
        *,
        folder: Path,
        environment: Mapping[str, str],
        on_line: Callable[[str], None],
    ) -> Ended:
        """Runs a program to its end. Nothing that it started is left, however this ends.

        :param environment: beside what every program has; nothing else is passed on
        :raises OverLimitError: when it was ended for what it took
        :raises FlopsError: FLOPS-B040 when the disk is full
        """
        mark = f"{MARK}={uuid.uuid4().hex}"
        tail: deque[str] = deque(maxlen=TAIL)
        report = self.scratch / "in-network"
        over: list[str] = []
        started: list[int] = []

        def told(line: str) -> None:
            tail.append(line.rstrip())
            on_line(line.rstrip())

        async def watch() -> None:
            while True:
                await anyio.sleep(PERIOD)
                pids = await anyio.to_thread.run_sync(marked_processes, mark)
                found = await anyio.to_thread.run_sync(self._over, pids)
                if found:
                    over.append(found)
                # What outlives the program holds its output open, so that nobody would see it end.
                if found or (started and started[0] not in pids):
                    await anyio.to_thread.run_sync(end_marked, mark)

        finished = None
        try:
            async with tasks() as group:
                group.start_soon(watch)
                try:
                    finished = await run(
                        self._command(command, report),
                        environment=self._environment(environment, mark),
                        folder=folder,
                        seconds=self.limits.seconds,
                        on_error_line=told,
                        on_start=started.append,
                    )
                except TimeoutError:
                    over.append(f"it was not done within {self.limits.seconds:.0f} s")
                except FlopsError as error:
                    if not TOO_BIG.search(error.body.detail):
                        raise
                    over.append(f"it wrote a file of more than {self.limits.file_bytes // MEBIBYTE} MiB")
                group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(end_marked, mark)
        if over or finished is None:
            raise OverLimitError(over[0])
        path = anyio.Path(report)
        in_network = await path.read_text() if await path.exists() else ""
        return Ended(finished.returncode, tuple(tail), in_network)

    def _command(self, command: Sequence[str | Path], report: Path) -> list[str]:
        limits = {
            "memory": self.limits.memory_bytes,
            "file": self.limits.file_bytes,
            "processes": self.limits.processes,
            "seconds": int(self.limits.seconds) + 1,
        }
        confined = [sys.executable, "-I", "-S", "-B", str(CONFINE), str(os.getpid()), str(isolation_file())]
        return [*confined, str(report), json.dumps(limits), *(str(each) for each in command)]

    def _environment(self, more: Mapping[str, str], mark: str) -> dict[str, str]:
        home, temporary = self.scratch / "home", self.scratch / "tmp"
        for place in (home, temporary):
            place.mkdir(exist_ok=True)
        name, _, value = mark.partition("=")
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            **{each: os.environ[each] for each in PASSED_ON if each in os.environ},
            "HOME": str(home),
            "TMPDIR": str(temporary),
            name: value,
            **more,
        }

    def _over(self, pids: Sequence[int]) -> str:
        if len(pids) > self.limits.processes:
            return f"it started more than {self.limits.processes} processes"
        taken = anonymous_bytes_of(pids)
        if taken > self.limits.memory_bytes:
            allowed = self.limits.memory_bytes // MEBIBYTE
            return f"it took {taken // MEBIBYTE} MiB of memory, {allowed} MiB are allowed"
        return ""
