"""Processes of this machine, as /proc shows them: whether one still lives, and what is left of a mesh."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from anyio import current_time, sleep

PROC = Path("/proc")
MESH_VARIABLE = "FLOPS_MESH"


def started(pid: int) -> int | None:
    """When a process started, in clock ticks since boot (proc(5), field 22); None when it is gone or a zombie."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def of_mesh(root: Path) -> list[int]:
    """The processes that run for the mesh of a state folder: its services, actors, and the ML code's processes.

    They are known by their environment or by the files that they run; on a system without /proc, none are seen.
    """
    return sorted(pid for pid in _own_processes() if pid != os.getpid() and _belongs(pid, root))


async def end(pids: list[int], *, patience: float) -> list[int]:
    """Asks processes to end, kills those that still live after `patience` seconds, and names those that it killed."""
    _signal(pids, signal.SIGTERM)
    living = await _wait_for_end(pids, patience)
    _signal(living, signal.SIGKILL)
    await _wait_for_end(living, 2.0)
    return living


async def _wait_for_end(pids: list[int], seconds: float) -> list[int]:
    until = current_time() + seconds
    while living := [pid for pid in pids if started(pid) is not None]:
        if current_time() >= until:
            break
        await sleep(0.05)
    return living


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _own_processes() -> list[int]:
    found = []
    for path in PROC.glob("[0-9]*"):
        with suppress(OSError):
            if path.stat().st_uid == os.geteuid():
                found.append(int(path.name))
    return found


def _belongs(pid: int, root: Path) -> bool:
    """A shell that merely has the folder as its working directory, or names it in FLOPS_HOME, does not belong."""
    try:
        environment = (PROC / str(pid) / "environ").read_bytes().split(b"\0")
        arguments = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    folder = os.fsencode(root)
    if f"{MESH_VARIABLE}=".encode() + folder in environment:
        return True
    inside = (folder + b"/engine/", folder + b"/cache/")
    variables = (b"FLOPS_STATE_DIR=", b"FLOPS_IMAGE_ROOT=")
    if any(entry.startswith(name + place) for entry in environment for name in variables for place in inside):
        return True
    return b"python" in os.path.basename(arguments[0]) and any(a.startswith(inside) for a in arguments)  # noqa: PTH119
