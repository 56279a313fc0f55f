"""The tables, and how an older database becomes one of today."""

from __future__ import annotations

import sqlite3

from flops_protocol.errors import FlopsError

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

    -- One row a project. `status` is the message as published last; everything in it follows from the log.
    CREATE TABLE projects (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        project TEXT NOT NULL UNIQUE,
        submit_token TEXT UNIQUE,
        sla_digest TEXT NOT NULL,
        stage TEXT NOT NULL,
        ended INTEGER NOT NULL,
        status BLOB NOT NULL
    );
    CREATE INDEX projects_ended ON projects (ended);

    CREATE TABLE events (
        project TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        event BLOB NOT NULL,
        details BLOB NOT NULL,
        PRIMARY KEY (project, sequence)
    ) WITHOUT ROWID;

    -- What was taken in, so that it is not taken in twice; `result` is what a request came to.
    CREATE TABLE inbox (
        source TEXT NOT NULL,
        id TEXT NOT NULL,
        at REAL NOT NULL,
        result TEXT,
        PRIMARY KEY (source, id)
    ) WITHOUT ROWID;
    CREATE INDEX inbox_at ON inbox (at);

    -- What is still to be published, in this order.
    CREATE TABLE outbox (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        topic TEXT NOT NULL,
        payload BLOB NOT NULL,
        qos INTEGER NOT NULL,
        retain INTEGER NOT NULL,
        expiry INTEGER
    );

    -- The last retained message of each topic, for a broker that has forgotten it.
    CREATE TABLE retained (topic TEXT PRIMARY KEY, payload BLOB NOT NULL) WITHOUT ROWID;

    -- The last status of each actor, as it said it.
    CREATE TABLE reports (
        project TEXT NOT NULL,
        instance TEXT NOT NULL,
        role TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        at TEXT NOT NULL,
        status BLOB NOT NULL,
        PRIMARY KEY (project, instance)
    ) WITHOUT ROWID;

    -- What an actor said once, until it stands in the history.
    CREATE TABLE facts (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        project TEXT NOT NULL,
        instance TEXT NOT NULL,
        kind TEXT NOT NULL,
        message BLOB NOT NULL
    );
    CREATE INDEX facts_project ON facts (project);

    -- What each project looked its images up by, to say what differs when there are none.
    CREATE TABLE sources (
        project TEXT PRIMARY KEY,
        repository_url TEXT NOT NULL,
        inputs BLOB NOT NULL,
        at REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX sources_repository ON sources (repository_url, at);
    """,
)
"""Each takes the database one version further. What was released is never changed, only followed by the next."""


def migrate(connection: sqlite3.Connection) -> None:
    """Brings the database to the newest version, all or nothing for each step.

    :raises FlopsError: FLOPS-P010 when a newer manager has written it
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise FlopsError(
            "FLOPS-P010",
            f"the database has version {version}, this manager knows versions up to {len(MIGRATIONS)}",
            hint="Start the version of flops-mesh that was used last, or a newer one.",
        )
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")
