"""The truth: what came in, what happened, and what is still to be said, changed together or not at all."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
from flops_protocol.bus import Outgoing, Received
from flops_protocol.errors import FlopsError
from flops_protocol.messages.project import ErrorReport, ProjectStage

from flops_manager.crash import crash_point
from flops_manager.project.log import Draft, Entry
from flops_manager.project.state import ProjectState, append
from flops_manager.project.there import There
from flops_manager.project.views import status
from flops_manager.store import rows
from flops_manager.store.database import Database

INBOX_SECONDS = 7 * 86_400
"""How long a message is remembered. Longer than any broker keeps one for us."""


@dataclass(frozen=True)
class Receipt:
    """Which message this is about: it is taken in once."""

    source: str
    id: str

    @classmethod
    def of(cls, received: Received[Any]) -> Receipt:
        """The receipt of a message."""
        return cls(received.envelope.source, received.envelope.id)


@dataclass(frozen=True)
class Change:
    """What a change came to. `before` is None for a new project; without entries, nothing has changed."""

    before: ProjectState | None
    after: ProjectState
    entries: Sequence[Entry]


Announce = Callable[[Change, ErrorReport | None], Sequence[Outgoing]]
"""What the world is told about a change. Called inside the transaction, from another thread, one at a time."""

Decide = Callable[[ProjectState], Sequence[Draft]]
"""What happens next in a project as it is; a FlopsError means that nothing does."""


class Store:
    """Inbox, event log and outbox. States are folded from the log, and kept while their project lives."""

    def __init__(self, database: Database, announce: Announce, clock: Callable[[], datetime]) -> None:
        """See `open`."""
        self._database = database
        self._announce = announce
        self._clock = clock
        self._live: dict[str, ProjectState] = {}
        self._filled = anyio.Event()

    @classmethod
    async def open(cls, path: Path, announce: Announce, clock: Callable[[], datetime]) -> Store:
        """Opens the store at `path`, and folds the state of every project that has not ended.

        :raises FlopsError: FLOPS-P010 when a newer manager has written it
        """
        store = cls(await Database.open(path), announce, clock)
        await store._database.write(_fold_all, store._live.update)
        return store

    async def close(self) -> None:
        """Closes the database."""
        await self._database.close()

    @property
    def live(self) -> Collection[str]:
        """The projects that have not ended."""
        return tuple(self._live)

    async def submit(
        self, project: str, submitted: Draft, *, sla_digest: str, receipt: Receipt
    ) -> tuple[ProjectState, bool]:
        """Takes a project in; returns it, and whether it is new.

        The same message, and the same token with the same SLA, give the project that they gave before.

        :raises FlopsError: FLOPS-S004 when the token was used for another SLA
        """
        assert submitted.details.submission is not None  # noqa: S101
        token = submitted.details.submission.submit_token

        def take(connection: sqlite3.Connection) -> Change:
            known = rows.result_of(connection, receipt.source, receipt.id)
            if known is None and token is not None:
                known = rows.project_of_token(connection, token, sla_digest)
            if known is not None:
                state = self._load(connection, known)
                return Change(state, state, ())
            new, entries = append(None, [submitted], self._clock(), project=project)
            assert new is not None  # noqa: S101
            rows.insert_project(connection, status(new), token, sla_digest)
            rows.note(connection, receipt.source, receipt.id, project)
            change = Change(None, new, entries)
            self._write(connection, change, None)
            crash_point("submit.before-commit")
            return change

        change = await self._commit(take)
        crash_point("submit.after-commit")
        return change.after, change.before is None

    async def change(
        self,
        project: str,
        decide: Decide,
        *,
        operation: str = "change",
        receipt: Receipt | None = None,
        consumed: Sequence[int] = (),
        report: ErrorReport | None = None,
    ) -> Change:
        """Writes what happens next in a project, and what the world is told of it, in one transaction.

        A message that was taken in before (`receipt`) changes nothing. `consumed` are facts that are written now;
        `report` is published along, if anything happens.

        :raises FlopsError: FLOPS-S003 when there is no such project; whatever `decide` raises
        """

        def write(connection: sqlite3.Connection) -> Change:
            before = self._load(connection, project)
            if receipt is not None and not rows.note(connection, receipt.source, receipt.id, project):
                return Change(before, before, ())
            rows.delete_facts(connection, consumed)
            after, entries = append(before, decide(before), self._clock())
            assert after is not None  # noqa: S101
            change = Change(before, after, entries)
            if entries:
                self._write(connection, change, report)
            crash_point(f"{operation}.before-commit")
            return change

        change = await self._commit(write)
        crash_point(f"{operation}.after-commit")
        return change

    async def keep_report(self, project: str, instance: str, report: rows.StoredReport, receipt: Receipt) -> None:
        """Keeps the last status of an actor, unless it is of an earlier life than the one that is known."""

        def write(connection: sqlite3.Connection) -> None:
            if rows.note(connection, receipt.source, receipt.id, None):
                rows.put_report(connection, project, instance, report)
            crash_point("report.before-commit")

        await self._database.write(write)
        crash_point("report.after-commit")

    async def keep_fact(self, project: str, instance: str, kind: str, message: bytes, receipt: Receipt) -> None:
        """Keeps something that an actor said once, until it is consumed by a change."""

        def write(connection: sqlite3.Connection) -> None:
            if rows.note(connection, receipt.source, receipt.id, None):
                rows.insert_fact(connection, project, instance, kind, message)
            crash_point("fact.before-commit")

        await self._database.write(write)
        crash_point("fact.after-commit")

    async def state(self, project: str) -> ProjectState:
        """The state of a project.

        :raises FlopsError: FLOPS-S003 when there is no such project
        """
        return await self._database.read(lambda connection: self._load(connection, project))

    async def there(self, project: str) -> There:
        """What actors of a project have said: their last statuses, and the facts that are not consumed yet."""
        return await self._database.read(lambda connection: rows.there(connection, project))

    async def history(self, project: str, after: int, limit: int, max_bytes: int) -> tuple[list[Entry], bool]:
        """Entries after a sequence, at most so many and so many bytes, and whether there are more.

        :raises FlopsError: FLOPS-S003 when there is no such project
        """
        return await self._database.read(lambda connection: rows.history(connection, project, after, limit, max_bytes))

    async def statuses(self, stages: Sequence[ProjectStage], limit: int, before: str | None) -> list[bytes]:
        """The published statuses of projects, the newest project first, beginning after `before`.

        :raises FlopsError: FLOPS-S003 when there is no project `before`
        """
        return await self._database.read(lambda connection: rows.statuses(connection, stages, limit, before))

    async def retained(self) -> list[Outgoing]:
        """The last retained message of every topic."""
        return await self._database.read(rows.retained)

    async def outbox(self, limit: int) -> list[tuple[int, Outgoing]]:
        """The next messages to publish, by their numbers."""
        return await self._database.read(lambda connection: rows.outbox(connection, limit))

    async def sent(self, last: int) -> None:
        """Forgets the messages up to this number: the broker has them."""
        await self._database.write(lambda connection: rows.delete_outbox(connection, last))

    async def wait_outbox(self) -> None:
        """Returns when a message may have been added since the last call returned."""
        await self._filled.wait()
        self._filled = anyio.Event()

    async def prune(self) -> None:
        """Forgets messages that nobody will send again."""
        oldest = time.time() - INBOX_SECONDS
        await self._database.write(lambda connection: rows.prune_inbox(connection, oldest))

    async def secret(self) -> bytes:
        """A secret of this mesh, made at its first start."""
        fresh = secrets.token_bytes(32)
        return await self._database.write(lambda connection: rows.meta(connection, "secret", fresh))

    async def alive(self, at: datetime) -> datetime | None:
        """Notes that the manager lives; returns when it was noted last."""
        value = await self._database.write(
            lambda connection: rows.swap_meta(connection, "alive", at.isoformat().encode())
        )
        return None if value is None else datetime.fromisoformat(value.decode())

    async def moved(self, key: str, value: str | None) -> bool:
        """Notes where something is; whether that is elsewhere than it was noted before."""
        now = (value or "").encode()
        return await self._database.write(lambda connection: rows.swap_meta(connection, key, now)) != now

    async def say_again(self, compose: Callable[[ProjectState], Sequence[Outgoing]]) -> None:
        """Adds messages about every project that lives to the outbox."""

        def write(connection: sqlite3.Connection) -> None:
            for state in self._live.values():
                rows.insert_outbox(connection, compose(state))

        await self._database.write(write)
        self._filled.set()

    async def keep_source(self, project: str, repository_url: str, inputs: bytes) -> None:
        """Keeps what a project looked its images up by."""
        await self._database.write(
            lambda connection: rows.put_source(connection, project, repository_url, inputs, time.time())
        )

    async def sources(self, repository_url: str, but: str | None, limit: int = 20) -> list[bytes]:
        """What other projects of the repository looked their images up by, the last one first."""
        return await self._database.read(lambda connection: rows.sources(connection, repository_url, but, limit))

    async def _commit(self, write: Callable[[sqlite3.Connection], Change]) -> Change:
        change = await self._database.write(write, self._committed)
        if change.entries:
            self._filled.set()
        return change

    def _committed(self, change: Change) -> None:
        if change.after.stage.ended:
            self._live.pop(change.after.project, None)
        else:
            self._live[change.after.project] = change.after

    def _load(self, connection: sqlite3.Connection, project: str) -> ProjectState:
        state = self._live.get(project) or rows.fold_project(connection, project)
        if state is None:
            raise FlopsError("FLOPS-S003", project)
        return state

    def _write(self, connection: sqlite3.Connection, change: Change, report: ErrorReport | None) -> None:
        rows.insert_entries(connection, change.entries)
        rows.update_project(connection, status(change.after))
        if change.after.stage.ended:
            rows.forget_actors(connection, change.after.project)
        rows.insert_outbox(connection, self._announce(change, report))


def _fold_all(connection: sqlite3.Connection) -> dict[str, ProjectState]:
    states = {}
    for project in rows.live(connection):
        state = rows.fold_project(connection, project)
        if state is not None:
            states[project] = state
    return states
