"""One SQLite connection, used from one thread at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread
import structlog
from anyio import CapacityLimiter

from flops_manager.store.schema import migrate

log = structlog.get_logger(__name__)

T = TypeVar("T")

PATIENCE_SECONDS = 600
"""How long a write waits for a disk that is full: a build that fails for the same reason frees it soon."""


class Database:
    """Runs functions on the connection, off the event loop, one after the other in the order of the calls.

    Durable: what `write` has returned from survives a loss of power (WAL with synchronous FULL).
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Takes over a connection; see `open`."""
        self._connection = connection
        self._limiter = CapacityLimiter(1)

    @classmethod
    async def open(cls, path: Path) -> Database:
        """Opens the database, and makes it or brings it up to date.

        :raises FlopsError: FLOPS-P010 when a newer manager has written it
        """

        def connect() -> sqlite3.Connection:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
            try:
                connection.row_factory = sqlite3.Row
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                migrate(connection)
            except BaseException:
                connection.close()
                raise
            return connection

        return cls(await anyio.to_thread.run_sync(connect))

    async def close(self) -> None:
        """Closes the connection."""
        await anyio.to_thread.run_sync(self._connection.close, limiter=self._limiter)

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Runs a query."""
        return await anyio.to_thread.run_sync(query, self._connection, limiter=self._limiter)

    async def write(self, change: Callable[[sqlite3.Connection], T], committed: Callable[[T], None] | None = None) -> T:
        """Runs a change in one transaction: all of it is durable on return, or nothing of it happened.

        `committed` is called with the result before the next query or change sees the database.

        While the disk is full it is tried again, so that nobody loses a message over it: the handler that waits here
        has not acknowledged.

        :raises sqlite3.Error: when the disk stays full, or the database is broken
        """

        def transact() -> T:
            with _transaction(self._connection):
                result = change(self._connection)
            if committed is not None:
                committed(result)
            return result

        give_up = anyio.current_time() + PATIENCE_SECONDS
        while True:
            try:
                return await anyio.to_thread.run_sync(transact, limiter=self._limiter)
            except sqlite3.OperationalError as error:
                if "full" not in str(error) or anyio.current_time() > give_up:
                    raise
                log.warning("the disk is full; the manager waits for space", error=str(error))
                await anyio.sleep(1)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.commit()
