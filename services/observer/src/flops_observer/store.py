"""The observer's own history: events, newest states, log lines, and what was already told, in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from flops_protocol.channels import (
    AGGREGATOR_STATUS,
    BUILD_PROGRESS,
    BUILDER_STATUS,
    LEARNER_STATUS,
    PROJECT_STATUS,
    ROUNDS,
    SPEC,
)
from flops_protocol.messages.actors import LogLines
from flops_protocol.messages.project import ProjectEvent

from flops_observer.projection import State, View, with_event, with_state

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    project TEXT NOT NULL, sequence INTEGER NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (project, sequence)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS states (
    project TEXT NOT NULL, topic TEXT NOT NULL, channel TEXT NOT NULL, at TEXT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (project, topic)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS told (
    project TEXT PRIMARY KEY, position INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS logs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, message TEXT NOT NULL UNIQUE, project TEXT NOT NULL, role TEXT NOT NULL,
    instance TEXT NOT NULL, count INTEGER NOT NULL, body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS logs_of_project ON logs (project, number);
"""

_MODELS: dict[str, type[State]] = {
    channel.name: channel.model
    for channel in (SPEC, PROJECT_STATUS, BUILDER_STATUS, BUILD_PROGRESS, AGGREGATOR_STATUS, LEARNER_STATUS, ROUNDS)
}

_SWEEP = 50
"""After how many log messages old lines are looked for: finding them reads all lines of the project."""
_PAGE_BYTES = 200_000
"""Less than a message may have, so that the envelope has room too."""


@dataclass(frozen=True)
class LogPage:
    """Log lines in the order of their arrival; `next` is where the following page starts, None at the end."""

    lines: list[LogLines]
    next: int | None


class Store:
    """One SQLite file. Calls block: run them in a thread, one at a time. What a call wrote is kept when it returns."""

    def __init__(self, path: Path, *, log_lines: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._log_lines = log_lines
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def projects(self) -> list[str]:
        """Every project that was ever heard of."""
        rows = self._database.execute("SELECT project FROM events UNION SELECT project FROM states ORDER BY 1")
        return [str(project) for (project,) in rows]

    def view(self, project: str) -> View:
        """All that was kept of a project, folded."""
        view = View(project)
        for channel, at, body in self._database.execute(
            "SELECT channel, at, body FROM states WHERE project = ? ORDER BY at", (project,)
        ):
            state: State = _MODELS[channel].model_validate_json(body, extra="ignore")
            view = with_state(view, state, datetime.fromisoformat(at))
        for event in self._events(project, after=0, limit=-1):
            view, _ = with_event(view, event)
        return view

    def events(self, project: str, *, after: int, limit: int) -> list[ProjectEvent]:
        """Events of a project after a sequence, at most `limit`; what follows a gap is included."""
        return self._events(project, after=after, limit=limit)

    def keep_events(self, events: list[ProjectEvent]) -> None:
        """Keeps events; those that are there already stay as they are."""
        rows = [(event.project, event.sequence, event.model_dump_json(exclude_none=True)) for event in events]
        with self._transaction():
            self._database.executemany("INSERT OR IGNORE INTO events VALUES (?, ?, ?)", rows)

    def keep_state(self, state: State, *, topic: str, channel: str, at: datetime) -> None:
        """Keeps the newest state of a topic, in the place of the one before."""
        self._database.execute(
            "INSERT OR REPLACE INTO states VALUES (?, ?, ?, ?, ?)",
            (state.project, topic, channel, at.isoformat(), state.model_dump_json(exclude_none=True, by_alias=True)),
        )

    def told(self, project: str) -> int:
        """The position of the last line that was published."""
        row = self._database.execute("SELECT position FROM told WHERE project = ?", (project,)).fetchone()
        return 0 if row is None else int(row[0])

    def tell(self, project: str, position: int) -> None:
        """Remembers that lines up to a position were published."""
        self._database.execute(
            "INSERT INTO told VALUES (?, ?) ON CONFLICT (project) DO UPDATE SET position = excluded.position",
            (project, position),
        )

    def keep_log(self, message: str, role: str, lines: LogLines) -> None:
        """Keeps log lines once, whatever number of times their message (`message` is its ID) arrives."""
        with self._transaction():
            cursor = self._database.execute(
                "INSERT OR IGNORE INTO logs (message, project, role, instance, count, body) VALUES (?, ?, ?, ?, ?, ?)",
                (message, lines.project, role, lines.instance, len(lines.lines), lines.model_dump_json()),
            )
            if (cursor.lastrowid or 0) % _SWEEP == 0:
                self._forget_old_lines(lines.project)

    def logs(self, project: str, *, role: str | None, instance: str | None, after: int, limit: int) -> LogPage:
        """A page of log lines."""
        rows = self._database.execute(
            "SELECT number, body FROM logs WHERE project = ? AND number > ? AND role = coalesce(?, role) "
            "AND instance = coalesce(?, instance) ORDER BY number LIMIT ?",
            (project, after, role, instance, limit + 1),
        ).fetchall()
        page = _fitting(rows[:limit])
        lines = [LogLines.model_validate_json(body) for _, body in page]
        return LogPage(lines, int(page[-1][0]) if len(rows) > len(page) else None)

    def _events(self, project: str, *, after: int, limit: int) -> list[ProjectEvent]:
        rows = self._database.execute(
            "SELECT body FROM events WHERE project = ? AND sequence > ? ORDER BY sequence LIMIT ?",
            (project, after, limit),
        )
        return [ProjectEvent.model_validate_json(body, extra="ignore") for (body,) in rows]

    def _forget_old_lines(self, project: str) -> None:
        """Drops the oldest messages of a project while the newer ones alone have more lines than are kept."""
        self._database.execute(
            "DELETE FROM logs WHERE project = ?1 AND number <= (SELECT max(number) FROM ("
            "SELECT number, sum(count) OVER (ORDER BY number DESC) - count AS newer FROM logs WHERE project = ?1) "
            "WHERE newer >= ?2)",
            (project, self._log_lines),
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")


def _fitting(rows: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """As many rows as fit into one message, at least one."""
    size = 0
    for index, (_, body) in enumerate(rows):
        size += len(body.encode())
        if size > _PAGE_BYTES and index > 0:
            return rows[:index]
    return rows
