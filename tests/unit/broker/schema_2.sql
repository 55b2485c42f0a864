-- Schema 2 as it was released: what test_schema.py migrates from. Never changed.
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
    expires REAL
);
CREATE INDEX streams_expires ON streams (expires) WHERE expires IS NOT NULL;
CREATE TABLE events (
    stream INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    kind TEXT NOT NULL,
    data BLOB NOT NULL,
    at REAL NOT NULL,
    terminal INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (stream, offset)
) WITHOUT ROWID;

-- Which jobs (`seq`) wait for the end of which others (`needed`).
CREATE TABLE waits (needed TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (needed, seq)) WITHOUT ROWID;
CREATE INDEX waits_seq ON waits (seq);

CREATE TABLE crons (
    name TEXT PRIMARY KEY, owner TEXT NOT NULL, cron BLOB NOT NULL, next REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX crons_next ON crons (next);

CREATE TABLE queues (queue TEXT PRIMARY KEY, rules BLOB NOT NULL) WITHOUT ROWID;
