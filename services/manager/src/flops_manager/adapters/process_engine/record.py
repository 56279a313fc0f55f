"""What the engine writes down of an actor before it starts it, and what it makes of that afterwards."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from flops_protocol.messages.project import Role

from flops_manager.adapters.process_engine.folders import ActorFolder
from flops_manager.adapters.process_engine.machine import boot_id
from flops_manager.engine import EngineActor, Presence

# A lock that somebody only looks at must not be taken for held: looking and taking exclude each other.
_looking = threading.Lock()


@dataclass(frozen=True)
class Record:
    """One actor as it was started. `boot` is the machine's run: after a reboot, nothing of it is there."""

    project: str
    role: str
    instance: str
    node: str
    incarnation: int
    boot: str
    started_at: str

    @classmethod
    def read(cls, folder: ActorFolder) -> Record | None:
        """The record of an actor, None where there is none."""
        try:
            return cls(**json.loads(folder.record.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, folder: ActorFolder) -> None:
        """Puts the record in place, whole."""
        fresh = folder.record.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self)))
        fresh.replace(folder.record)


@contextmanager
def taken(folder: ActorFolder) -> Iterator[int]:
    """The actor's lock, to be handed to its processes, which keep it after we let go."""
    lock = os.open(folder.lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        with _looking:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield lock
    finally:
        os.close(lock)


def alive(folder: ActorFolder) -> bool:
    """Whether a process of the actor holds its lock."""
    try:
        lock = os.open(folder.lock, os.O_RDWR)
    except OSError:
        return False
    try:
        with _looking:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(lock, fcntl.LOCK_UN)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def number(path: Path) -> int | None:
    """The number in a file, None where there is none yet."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def look(folder: ActorFolder) -> EngineActor | None:
    """The actor as it is there; None when it was never started, or the machine was started anew since."""
    record = Record.read(folder)
    if record is None or record.boot != boot_id():
        return None
    runs = alive(folder)
    if not runs and number(folder.group) is None:
        return None  # The manager was killed after it had written the record, and before it had started anything.
    started = datetime.fromisoformat(record.started_at)
    ended = None
    if not runs:
        ended = datetime.fromtimestamp(folder.exit.stat().st_mtime, UTC) if folder.exit.exists() else started
    return EngineActor(
        project=record.project,
        role=Role(record.role),
        instance=record.instance,
        node=record.node,
        incarnation=record.incarnation,
        presence=Presence.RUNNING if runs else Presence.EXITED,
        started_at=started,
        ended_at=ended,
        exit_code=number(folder.exit),
    )
