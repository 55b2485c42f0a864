"""The tables of the local engine, their version, and the way from older versions to this one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Final

from headgate.base.errors import ConfigError

VERSION: Final = 4
APPLICATION: Final = 0x48474154
"""SQLite's application_id: says that a file is ours before anything is changed in it ("HGAT")."""

STATES: Final = ("scheduled", "queued", "running", "succeeded", "failed", "cancelled")
SCHEDULED, QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED = range(6)

TABLES: Final = """
-- One row per job, kept small because it is rewritten at each step; what does not change is in `specs`.
-- `seq` orders jobs by their acceptance and is also the number of the job's stream.
-- `held` = 1: waits for a place under its key's limit, and is invisible to claims until it has one.
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    queue TEXT NOT NULL,
    function TEXT NOT NULL,
    state INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    held INTEGER NOT NULL DEFAULT 0,
    due REAL,
    deadline REAL,
    key TEXT,
    key_limit INTEGER NOT NULL DEFAULT 1,
    idempotency_key TEXT,
    tries INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    losses INTEGER NOT NULL DEFAULT 0,
    epoch INTEGER NOT NULL DEFAULT 0,
    worker TEXT,
    claimed INTEGER,
    reported INTEGER NOT NULL DEFAULT 0,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    last INTEGER NOT NULL DEFAULT 0,
    enqueued_at REAL NOT NULL,
    started_at REAL,
    finished_at REAL,
    expires REAL,
    cpu REAL,
    peak_rss INTEGER,
    progress BLOB,
    checkpoint BLOB,
    failure BLOB,
    result BLOB
);
CREATE INDEX jobs_ready ON jobs (queue, priority DESC, seq) WHERE state = 1 AND held = 0;
CREATE INDEX jobs_due ON jobs (due) WHERE state = 0;
CREATE INDEX jobs_deadline ON jobs (deadline) WHERE state <= 1 AND deadline IS NOT NULL;
CREATE INDEX jobs_running ON jobs (worker, claimed) WHERE state = 2;
CREATE INDEX jobs_failed ON jobs (seq) WHERE state = 4;
CREATE INDEX jobs_cancelled ON jobs (seq) WHERE state = 5;
CREATE INDEX jobs_key ON jobs (key, state, held, priority DESC, seq) WHERE key IS NOT NULL;
CREATE INDEX jobs_expires ON jobs (expires) WHERE expires IS NOT NULL;
CREATE UNIQUE INDEX jobs_idempotency ON jobs (idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE TABLE specs (seq INTEGER PRIMARY KEY, spec BLOB NOT NULL);
CREATE TABLE tags (tag TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (tag, seq)) WITHOUT ROWID;
CREATE INDEX tags_seq ON tags (seq);

-- Streams of user code. A job's stream has no row here: its `seq` and `last` are the job's own.
CREATE TABLE streams (
    seq INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    last INTEGER NOT NULL,
    ended INTEGER NOT NULL DEFAULT 0,
    expires REAL,
    state BLOB,
    source INTEGER,
    age_due REAL
);
CREATE INDEX streams_expires ON streams (expires) WHERE expires IS NOT NULL;
CREATE INDEX streams_source ON streams (source) WHERE source IS NOT NULL;
CREATE INDEX streams_age ON streams (age_due) WHERE age_due IS NOT NULL;
CREATE TABLE events (
    stream INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    kind TEXT NOT NULL,
    data BLOB NOT NULL,
    at REAL NOT NULL,
    terminal INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (stream, offset)
) WITHOUT ROWID;

-- The last accepted append of each producer, and why the beginning of a stream (a job's too) is gone.
CREATE TABLE producers (
    stream INTEGER NOT NULL, producer TEXT NOT NULL, epoch INTEGER NOT NULL, last INTEGER NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (stream, producer)
) WITHOUT ROWID;
CREATE TABLE cuts (stream INTEGER PRIMARY KEY, reason TEXT NOT NULL);

-- Appends of late, so that one that is repeated after a reconnect is answered as the first time.
CREATE TABLE appends (token BLOB PRIMARY KEY, last INTEGER NOT NULL, at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX appends_at ON appends (at);

-- Which jobs (`seq`) wait for the end of which others (`needed`).
CREATE TABLE waits (needed TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (needed, seq)) WITHOUT ROWID;
CREATE INDEX waits_seq ON waits (seq);

CREATE TABLE crons (
    name TEXT PRIMARY KEY, owner TEXT NOT NULL, cron BLOB NOT NULL, next REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX crons_next ON crons (next);

CREATE TABLE queues (queue TEXT PRIMARY KEY, rules BLOB NOT NULL) WITHOUT ROWID;
"""


def _add_waits_and_crons(connection: sqlite3.Connection) -> None:
    for statement in (
        "CREATE TABLE waits (needed TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (needed, seq)) WITHOUT ROWID",
        "CREATE INDEX waits_seq ON waits (seq)",
        "CREATE TABLE crons (name TEXT PRIMARY KEY, owner TEXT NOT NULL, cron BLOB NOT NULL, next REAL NOT NULL)"
        " WITHOUT ROWID",
        "CREATE INDEX crons_next ON crons (next)",
    ):
        connection.execute(statement)


def _add_appends(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE appends (token BLOB PRIMARY KEY, last INTEGER NOT NULL, at REAL NOT NULL) WITHOUT ROWID"
    )
    connection.execute("CREATE INDEX appends_at ON appends (at)")


def _add_stream_state(connection: sqlite3.Connection) -> None:
    for statement in (
        "ALTER TABLE streams ADD COLUMN state BLOB",
        "ALTER TABLE streams ADD COLUMN source INTEGER",
        "ALTER TABLE streams ADD COLUMN age_due REAL",
        "CREATE INDEX streams_source ON streams (source) WHERE source IS NOT NULL",
        "CREATE INDEX streams_age ON streams (age_due) WHERE age_due IS NOT NULL",
        "CREATE TABLE producers (stream INTEGER NOT NULL, producer TEXT NOT NULL, epoch INTEGER NOT NULL,"
        " last INTEGER NOT NULL, at REAL NOT NULL, PRIMARY KEY (stream, producer)) WITHOUT ROWID",
        "CREATE TABLE cuts (stream INTEGER PRIMARY KEY, reason TEXT NOT NULL)",
    ):
        connection.execute(statement)


MIGRATIONS: Final[Mapping[int, Callable[[sqlite3.Connection], None]]] = {
    1: _add_waits_and_crons,
    2: _add_appends,
    3: _add_stream_state,
}
"""From a version to the next one; each runs inside the one transaction of `prepare`."""


def prepare(connection: sqlite3.Connection, where: str) -> None:
    """Make the tables in a new file, or bring an older one up to `VERSION`, in one transaction.

    Raises:
        ConfigError: the file is of a newer Headgate, or not Headgate's; it is left as it was.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        _bring_up(connection, where)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _bring_up(connection: sqlite3.Connection, where: str) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION:
        if tables or application or version:
            raise ConfigError(f"{where} is a database, but not one of Headgate's; name another data folder with --data")
        _create(connection)
        return
    if version > VERSION:
        raise ConfigError(
            f"{where} was written by a newer Headgate (schema {version}; this one knows up to {VERSION}). "
            "Nothing was changed. Run that version again, or name another data folder with --data"
        )
    for step in range(version, VERSION):
        MIGRATIONS[step](connection)
        connection.execute(f"PRAGMA user_version = {step + 1}")


def _create(connection: sqlite3.Connection) -> None:
    for statement in _statements(TABLES):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _statements(script: str) -> list[str]:
    # executescript would commit the transaction that we are in.
    plain = "\n".join(line.split("--")[0] for line in script.splitlines())
    return [statement for statement in plain.split(";") if statement.strip()]
