"""Runs a program that is not trusted: `python -I -S confine.py PARENT ISOLATION REPORT LIMITS PROGRAM ARGUMENT…`.

PARENT is the process to end with, ISOLATION the file with `leave_the_network`, REPORT a file that gets why this machine
allows no leaving (empty where it does), LIMITS a JSON object: `memory` and `file` in bytes, `processes`, `seconds`.
Started isolated and without site-packages, so that nothing of what is built is loaded before the limits stand.
"""

import contextlib
import ctypes
import importlib.util
import json
import os
import resource
import signal
import sys


def _end_with(parent: int) -> None:
    """Has the kernel end this process, and what it becomes, when the builder dies (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def _limit(limits: dict[str, int]) -> None:
    seconds = limits["seconds"]
    wanted = [
        (resource.RLIMIT_AS, limits["memory"]),
        (resource.RLIMIT_FSIZE, limits["file"]),
        (resource.RLIMIT_CPU, seconds * (os.cpu_count() or 1)),
        (resource.RLIMIT_CORE, 0),
    ]
    if os.getuid() != 0:  # it counts all that the user runs, and does not hold root (setrlimit(2))
        wanted.append((resource.RLIMIT_NPROC, _processes_of_the_user() + limits["processes"]))
    for kind, value in wanted:
        with contextlib.suppress(ValueError, OSError):  # this machine allows less already
            resource.setrlimit(kind, (value, value))


def _processes_of_the_user() -> int:
    count = 0
    for name in os.listdir("/proc"):  # noqa: PTH208 - nothing else of pathlib is needed
        with contextlib.suppress(OSError):
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == os.getuid():  # noqa: PTH116
                count += len(os.listdir(f"/proc/{name}/task"))  # noqa: PTH208
    return count


def _leave_the_network(isolation: str) -> str:
    spec = importlib.util.spec_from_file_location("isolation", isolation)
    assert spec is not None  # noqa: S101 - it ends with .py
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.leave_the_network())


def main() -> None:
    """Sets the limits and becomes the program."""
    parent, isolation, report, limits, *command = sys.argv[1:]
    _end_with(int(parent))
    in_network = _leave_the_network(isolation)
    with open(report, "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(in_network)
    _limit(json.loads(limits))
    os.dup2(2, 1)
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main()
