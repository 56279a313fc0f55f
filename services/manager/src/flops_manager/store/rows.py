"""The statements. Each runs inside whatever transaction its caller has opened."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from flops_protocol.bus import Outgoing
from flops_protocol.errors import FlopsError
from flops_protocol.messages.actors import AggregatorStatus, BuilderStatus, LearnerStatus, RoundReport
from flops_protocol.messages.project import ErrorReport, ProjectEvent, ProjectStage, ProjectStatus, Role

from flops_manager.project.log import Details, Entry
from flops_manager.project.state import ProjectState, fold
from flops_manager.project.there import Fact, Report, There

_STATUS: dict[Role, type[BuilderStatus | AggregatorStatus | LearnerStatus]] = {
    Role.BUILDER: BuilderStatus,
    Role.AGGREGATOR: AggregatorStatus,
    Role.LEARNER: LearnerStatus,
}
_FACT: dict[str, type[RoundReport | ErrorReport]] = {"round": RoundReport, "error": ErrorReport}


@dataclass(frozen=True)
class StoredReport:
    """An actor's status on its way into the database."""

    role: Role
    epoch: int
    at: datetime
    status: bytes


def note(connection: sqlite3.Connection, source: str, message: str, result: str | None) -> bool:
    """Notes that a message is taken in; False when it was before."""
    cursor = connection.execute(
        "INSERT OR IGNORE INTO inbox (source, id, at, result) VALUES (?, ?, ?, ?)",
        (source, message, time.time(), result),
    )
    return cursor.rowcount == 1


def result_of(connection: sqlite3.Connection, source: str, message: str) -> str | None:
    """What a message that was taken in came to."""
    row = connection.execute("SELECT result FROM inbox WHERE source = ? AND id = ?", (source, message)).fetchone()
    return None if row is None else row["result"]


def prune_inbox(connection: sqlite3.Connection, oldest: float) -> None:
    """Forgets messages that were taken in before a time."""
    connection.execute("DELETE FROM inbox WHERE at < ?", (oldest,))


def project_of_token(connection: sqlite3.Connection, token: str, sla_digest: str) -> str | None:
    """The project that a token stands for.

    :raises FlopsError: FLOPS-S004 when it was submitted with another SLA
    """
    row = connection.execute("SELECT project, sla_digest FROM projects WHERE submit_token = ?", (token,)).fetchone()
    if row is None:
        return None
    if row["sla_digest"] != sla_digest:
        raise FlopsError("FLOPS-S004", f"the token '{token}' belongs to {row['project']}")
    return str(row["project"])


def insert_project(connection: sqlite3.Connection, status: ProjectStatus, token: str | None, sla_digest: str) -> None:
    """A new project."""
    connection.execute(
        "INSERT INTO projects (project, submit_token, sla_digest, stage, ended, status) VALUES (?, ?, ?, ?, ?, ?)",
        (status.project, token, sla_digest, status.stage, status.stage.ended, status.model_dump_json()),
    )


def update_project(connection: sqlite3.Connection, status: ProjectStatus) -> None:
    """How a project stands now."""
    connection.execute(
        "UPDATE projects SET stage = ?, ended = ?, status = ? WHERE project = ?",
        (status.stage, status.stage.ended, status.model_dump_json(), status.project),
    )


def live(connection: sqlite3.Connection) -> list[str]:
    """The projects that have not ended, the oldest first."""
    return [
        row["project"] for row in connection.execute("SELECT project FROM projects WHERE NOT ended ORDER BY number")
    ]


def statuses(
    connection: sqlite3.Connection, stages: Sequence[ProjectStage], limit: int, before: str | None
) -> list[bytes]:
    """See `Store.statuses`."""
    number = 2**62
    if before is not None:
        row = connection.execute("SELECT number FROM projects WHERE project = ?", (before,)).fetchone()
        if row is None:
            raise FlopsError("FLOPS-S003", before)
        number = row["number"]
    wanted = [stage.value for stage in stages or tuple(ProjectStage)]
    marks = ", ".join("?" * len(wanted))
    query = f"SELECT status FROM projects WHERE number < ? AND stage IN ({marks}) ORDER BY number DESC LIMIT ?"  # noqa: S608
    return [row["status"] for row in connection.execute(query, (number, *wanted, limit))]


def insert_entries(connection: sqlite3.Connection, entries: Iterable[Entry]) -> None:
    """Appends to the log. Its key refuses a second event at the same place."""
    connection.executemany(
        "INSERT INTO events (project, sequence, event, details) VALUES (?, ?, ?, ?)",
        [
            (
                entry.event.project,
                entry.event.sequence,
                entry.event.model_dump_json(exclude_none=True),
                entry.details.model_dump_json(exclude_defaults=True, by_alias=True),
            )
            for entry in entries
        ],
    )


def _entry(row: sqlite3.Row) -> Entry:
    return Entry(
        event=ProjectEvent.model_validate_json(row["event"], extra="ignore"),
        details=Details.model_validate_json(row["details"], extra="ignore"),
    )


def fold_project(connection: sqlite3.Connection, project: str) -> ProjectState | None:
    """The state of a project, folded from its whole log; None when there is none."""
    state: ProjectState | None = None
    query = "SELECT event, details FROM events WHERE project = ? ORDER BY sequence"
    for row in connection.execute(query, (project,)):
        state = fold(state, _entry(row))
    return state


def history(
    connection: sqlite3.Connection, project: str, after: int, limit: int, max_bytes: int
) -> tuple[list[Entry], bool]:
    """See `Store.history`."""
    if connection.execute("SELECT 1 FROM projects WHERE project = ?", (project,)).fetchone() is None:
        raise FlopsError("FLOPS-S003", project)
    query = "SELECT event, details FROM events WHERE project = ? AND sequence > ? ORDER BY sequence LIMIT ?"
    entries: list[Entry] = []
    size = 0
    for row in connection.execute(query, (project, after, limit + 1)):
        size += len(row["event"])
        if len(entries) == limit or (entries and size > max_bytes):
            return entries, True
        entries.append(_entry(row))
    return entries, False


def put_report(connection: sqlite3.Connection, project: str, instance: str, report: StoredReport) -> None:
    """The last status of an actor; one of an earlier life does not replace it."""
    connection.execute(
        """
        INSERT INTO reports (project, instance, role, epoch, at, status) VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT (project, instance) DO UPDATE SET epoch = excluded.epoch, at = excluded.at, status = excluded.status
        WHERE excluded.epoch >= epoch
        """,
        (project, instance, report.role, report.epoch, report.at.isoformat(), report.status),
    )


def insert_fact(connection: sqlite3.Connection, project: str, instance: str, kind: str, message: bytes) -> None:
    """Something that an actor said once."""
    connection.execute(
        "INSERT INTO facts (project, instance, kind, message) VALUES (?, ?, ?, ?)", (project, instance, kind, message)
    )


def delete_facts(connection: sqlite3.Connection, numbers: Iterable[int]) -> None:
    """Facts that are taken in."""
    connection.executemany("DELETE FROM facts WHERE number = ?", [(number,) for number in numbers])


def forget_actors(connection: sqlite3.Connection, project: str) -> None:
    """What actors of a project have said counts no more: it has ended, and its history says what there is to say."""
    connection.execute("DELETE FROM reports WHERE project = ?", (project,))
    connection.execute("DELETE FROM facts WHERE project = ?", (project,))


def there(connection: sqlite3.Connection, project: str) -> There:
    """See `Store.there`."""
    reports = {
        row["instance"]: Report(
            status=_STATUS[Role(row["role"])].model_validate_json(row["status"], extra="ignore"),
            epoch=row["epoch"],
            at=datetime.fromisoformat(row["at"]),
        )
        for row in connection.execute("SELECT * FROM reports WHERE project = ?", (project,))
    }
    facts = [
        Fact(
            number=row["number"],
            instance=row["instance"],
            message=_FACT[row["kind"]].model_validate_json(row["message"], extra="ignore"),
        )
        for row in connection.execute("SELECT * FROM facts WHERE project = ? ORDER BY number LIMIT 200", (project,))
    ]
    return There(reports=reports, facts=facts)


def insert_outbox(connection: sqlite3.Connection, messages: Iterable[Outgoing]) -> None:
    """Messages to publish, in this order; of a retained topic, the last is kept for good."""
    for message in messages:
        connection.execute(
            "INSERT INTO outbox (topic, payload, qos, retain, expiry) VALUES (?, ?, ?, ?, ?)",
            (message.topic, message.payload, message.qos, message.retain, message.expiry),
        )
        if message.retain:
            connection.execute(
                "INSERT OR REPLACE INTO retained (topic, payload) VALUES (?, ?)", (message.topic, message.payload)
            )


def outbox(connection: sqlite3.Connection, limit: int) -> list[tuple[int, Outgoing]]:
    """See `Store.outbox`."""
    return [
        (
            row["number"],
            Outgoing(row["topic"], row["payload"], row["qos"], retain=bool(row["retain"]), expiry=row["expiry"]),
        )
        for row in connection.execute("SELECT * FROM outbox ORDER BY number LIMIT ?", (limit,))
    ]


def delete_outbox(connection: sqlite3.Connection, last: int) -> None:
    """Messages that the broker has."""
    connection.execute("DELETE FROM outbox WHERE number <= ?", (last,))


def retained(connection: sqlite3.Connection) -> list[Outgoing]:
    """See `Store.retained`."""
    return [
        Outgoing(row["topic"], row["payload"], 1, retain=True)
        for row in connection.execute("SELECT topic, payload FROM retained ORDER BY topic")
    ]


def meta(connection: sqlite3.Connection, key: str, default: bytes) -> bytes:
    """A value, which is `default` from now on if it was not set."""
    connection.execute("INSERT OR IGNORE INTO meta (key, value) VALUES (?, ?)", (key, default))
    return bytes(connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()["value"])


def swap_meta(connection: sqlite3.Connection, key: str, value: bytes) -> bytes | None:
    """Sets a value, and returns the one before."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))
    return None if row is None else bytes(row["value"])


def put_source(connection: sqlite3.Connection, project: str, repository_url: str, inputs: bytes, at: float) -> None:
    """See `Store.keep_source`."""
    connection.execute(
        "INSERT OR REPLACE INTO sources (project, repository_url, inputs, at) VALUES (?, ?, ?, ?)",
        (project, repository_url, inputs, at),
    )


def sources(connection: sqlite3.Connection, repository_url: str, but: str | None, limit: int) -> list[bytes]:
    """See `Store.sources`."""
    query = "SELECT inputs FROM sources WHERE repository_url = ? AND project != ? ORDER BY at DESC LIMIT ?"
    return [bytes(row["inputs"]) for row in connection.execute(query, (repository_url, but or "", limit))]
