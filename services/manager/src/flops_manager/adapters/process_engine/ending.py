"""Ends an actor with all its children, and nobody else."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.to_thread

from flops_manager.adapters.process_engine.folders import ActorFolder
from flops_manager.adapters.process_engine.machine import boot_id
from flops_manager.adapters.process_engine.record import Record, alive, number

KILL_SECONDS = 5
_TICKS = os.sysconf("SC_CLK_TCK")


async def end(folder: ActorFolder, grace_seconds: float) -> bool:
    """Asks the actor to stop (SIGTERM), and kills what is left of its process group after the grace.

    Returns whether everything is gone; False is for processes that even SIGKILL does not end, for want of a disk.
    """
    record = await anyio.to_thread.run_sync(Record.read, folder)
    if record is None or record.boot != boot_id():
        return True
    if await anyio.to_thread.run_sync(alive, folder):
        with anyio.move_on_after(grace_seconds):
            pid = await started(folder)
            if pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            await wait_for_end(folder)
    return await kill_leftovers(folder)


async def started(folder: ActorFolder) -> int | None:
    """The ID of the actor's first process, which its shell writes down right after the start; None: it has ended."""
    while await anyio.to_thread.run_sync(alive, folder):
        pid = number(folder.pid)
        if pid is not None:
            return pid
        await anyio.sleep(0.02)
    return None


async def wait_for_end(folder: ActorFolder) -> None:
    """Returns when the actor has ended, and its exit code is written."""
    pid = await started(folder)
    if pid is not None:
        with suppress(ProcessLookupError):
            process = os.pidfd_open(pid)
            try:
                # Only while it lives is the number its own.
                if await anyio.to_thread.run_sync(alive, folder):
                    await anyio.wait_readable(process)
            finally:
                os.close(process)
    # Its shell writes the code within a millisecond or two.
    while await anyio.to_thread.run_sync(alive, folder):  # noqa: ASYNC110
        await anyio.sleep(0.02)


async def kill_leftovers(folder: ActorFolder) -> bool:
    """Kills what is left of the actor's process group, and waits until it is gone; returns whether it is."""
    with anyio.move_on_after(KILL_SECONDS):
        while True:
            left = await anyio.to_thread.run_sync(_members, folder)
            if not left:
                return True
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await anyio.sleep(0.02)
    return False


def _members(folder: ActorFolder) -> list[int]:
    """The processes of the actor's group.

    The group's number is free for others once the last of them is gone. It is still the actor's as long as the actor
    lives, or a process is in it that began before the actor ended: the new owner's all began later.
    """
    group = number(folder.group)
    if group is None:
        return []
    # Looked at before the list is made: a group whose actor lives cannot change hands meanwhile.
    lives = alive(folder)
    found = _group(group)
    if not found or lives:
        return list(found)
    try:
        ended = folder.exit.stat().st_mtime
    except FileNotFoundError:
        ended = folder.group.stat().st_mtime + KILL_SECONDS
    return list(found) if min(found.values()) <= ended else []


def _group(group: int) -> dict[int, float]:
    """The living processes of a process group, with the time at which each began (seconds since 1970)."""
    booted = _boot_time()
    found: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with suppress(OSError):
            # proc(5): the name is in brackets and may contain anything, so the fields are counted behind it.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            state, its_group, began = fields[0], int(fields[2]), int(fields[19])
            if its_group == group and state not in {"Z", "X"}:
                found[int(entry.name)] = booted + began / _TICKS
    return found


def _boot_time() -> float:
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return 0.0
