"""A worker's processes and the memory they take, from /proc."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")


def anonymous_bytes(pid: int) -> int:
    """Memory of one process that no file backs; 0 when it is gone, or where there is no /proc."""
    try:
        status = (_PROC / str(pid) / "status").read_bytes()
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith(b"RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def group_anonymous_bytes(group: int) -> int:
    """Memory of a process group that no file backs, with pages that a fork shares counted once.

    Walks over every process of the machine: call it rarely, and in a thread.
    """
    return anonymous_bytes_of(group_members(group))


def anonymous_bytes_of(pids: Iterable[int]) -> int:
    """Memory of these processes that no file backs, with pages that a fork shares counted once."""
    return sum(_proportional_bytes(pid) for pid in pids)


def group_members(group: int) -> list[int]:
    """The processes of a group that are alive."""
    members = []
    for folder in _PROC.glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_bytes()
        except OSError:
            # It ended in the meantime.
            continue
        # The name in parentheses may contain anything: count from its end.
        fields = stat[stat.rindex(b")") + 2 :].split()
        if int(fields[2]) == group and fields[0] not in (b"Z", b"X"):
            members.append(int(folder.name))
    return members


def marked_processes(mark: str) -> list[int]:
    """The processes that were started with this text in their environment, whatever group they moved to."""
    wanted = mark.encode()
    found = []
    for folder in _PROC.glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:
            # It ended in the meantime, or is somebody else's.
            continue
        if wanted in environment.split(b"\0"):
            found.append(int(folder.name))
    return found


def end_marked(mark: str) -> None:
    """Kills what was started with this text in its environment; only what also empties that gets away."""
    for pid in marked_processes(mark):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _proportional_bytes(pid: int) -> int:
    try:
        rollup = (_PROC / str(pid) / "smaps_rollup").read_bytes()
    except OSError:
        return anonymous_bytes(pid)
    for line in rollup.splitlines():
        if line.startswith(b"Pss_Anon:"):
            return int(line.split()[1]) * 1024
    return anonymous_bytes(pid)
