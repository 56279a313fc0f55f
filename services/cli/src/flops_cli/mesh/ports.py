"""Ports on the loopback: finding one, and saying who has one that is taken."""

from __future__ import annotations

import socket
from pathlib import Path

from flops_protocol.errors import FlopsError

HOST = "127.0.0.1"


def choose(fixed: int | None, last: int | None = None) -> int:
    """The port to listen on: the one that is wanted; else that of last time, where it is free; else any.

    :raises FlopsError: FLOPS-P009 when the wanted one is taken
    """
    if fixed is not None:
        if not is_free(fixed):
            raise taken(fixed)
        return fixed
    if last is not None and is_free(last):
        return last
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether a process may listen there now."""
    with socket.socket() as probe:
        # As servers do: connections of the last owner that linger in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def taken(port: int) -> FlopsError:
    """The error for a port that is taken, with its owner where the system tells."""
    owner = _owner(port)
    return FlopsError("FLOPS-P009", f"Port {port} on {HOST} is taken{f' by {owner}' if owner else ''}")


def _owner(port: int) -> str | None:
    """The process that listens on a port, by /proc; None where that cannot be seen."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(port)}
    if not sockets:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(handle.readlink()) in sockets for handle in (process / "fd").iterdir()):
                return f"process {process.name} ({(process / 'comm').read_text().strip()})"
        except OSError:
            continue  # Gone meanwhile, or another user's.
    return None


def _inodes(port: int) -> set[str]:
    """The sockets that listen on a port, from the kernel's table (proc(5), /proc/net/tcp)."""
    inodes: set[str] = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        try:
            rows = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes
