"""The database file: opening, transactions, and what is counted beside it."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from headgate.base.clock import Clock
from headgate.base.errors import ConfigError
from headgate.base.model import Event
from headgate.drivers.local import schema

MEMORY: Final = ":memory:"


class Limits(msgspec.Struct, frozen=True):
    """The bounds and times of an engine."""

    lease: float = 15.0
    """Seconds that a claim lasts unless renewed."""
    queue_depth: int = 100_000
    """Jobs that may wait in one queue."""
    arguments_bytes: int = 1 << 20
    """Of one job, packed."""
    checkpoint_bytes: int = 1 << 20
    """Of one job, packed."""
    stream_events: int = 10_000
    """Events kept of one stream of user code; older ones are given up, and a reader is told."""
    stream_bytes: int = 64 << 20
    """Of all events kept of one such stream."""
    stream_age: float = 0.0
    """Seconds that an event of such a stream is kept; 0 for no such bound."""
    job_stream_events: int = 10_000
    """Events kept of a job's stream."""
    job_stream_bytes: int = 16 << 20
    stream_ttl: float = 86_400.0
    """Seconds that a stream of user code is kept after its last append."""


class QueueRules(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an operator or the config has said of one queue."""

    paused: bool = False
    slots: int | None = None
    """Jobs of this queue that run at once, on all workers together."""
    rate: float | None = None
    """Jobs started per second, at most; a second's worth may start at once."""
    depth: int | None = None
    """Jobs that may wait; instead of `Limits.queue_depth`."""
    weight: float = 1.0
    """Share of the workers when several queues have work of the same priority."""


class Lease(NamedTuple):
    epoch: int
    until: float
    """On the monotonic clock."""


class Changes:
    """What the transaction under way has done, beyond the tables: applied at commit, forgotten at rollback."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, int]] = Counter()
        self.events: dict[str, list[Event]] = defaultdict(list)
        self.leases: dict[str, Lease | None] = {}
        """Job id → its new lease, None for none."""
        self.cancels: set[str] = set()
        self.rules: dict[str, QueueRules] = {}
        self.again = False
        """Upkeep has not done all that is due."""
        self.ended: list[tuple[str, int]] = []
        """Jobs (id, state) that have ended; whoever waits for them is still to be told."""
        self.waits = 0
        """Waits begun, less those that are over."""
        self.ready = False
        """Something became claimable."""
        self.due: float | None = None
        """The earliest moment (wall clock) that something scheduled here falls due."""

    def falls_due(self, at: float) -> None:
        self.due = at if self.due is None else min(self.due, at)


class Store:
    """One connection and one transaction at a time.

    Args:
        path: the file, or `MEMORY`.
        clock: gives stamps and the times of leases.
        limits: the bounds.
    """

    def __init__(self, path: Path | str, clock: Clock, limits: Limits | None = None) -> None:
        self.path = str(path)
        self.clock = clock
        self.limits = limits or Limits()
        self.random = random.Random()
        self.counts: Counter[tuple[str, int]] = Counter()
        self.leases: dict[str, Lease] = {}
        self.rules: dict[str, QueueRules] = {}
        self.waits = 0
        """How many waits of jobs for other jobs there are."""
        self._next = 1
        self.cancels: set[str] = set()
        """Running jobs whose cancellation was asked for."""
        self.changes = Changes()
        self.now = clock.now()
        self.db = self._connect()
        self._load()

    def begin(self) -> None:
        """Start a transaction; the time stands still within it."""
        self.now = self.clock.now()
        self.changes = Changes()
        self.db.execute("BEGIN")

    def commit(self) -> None:
        """Make the transaction durable. May run in a thread, `apply` afterwards may not."""
        self.db.execute("COMMIT")

    def apply(self) -> Changes:
        """After a commit: what is counted beside the tables follows. Returns what was done."""
        changes, self.changes = self.changes, Changes()
        self.counts.update(changes.counts)
        for job, until in changes.leases.items():
            if until is None:
                self.leases.pop(job, None)
                self.cancels.discard(job)
            else:
                self.leases[job] = until
        self.cancels |= changes.cancels
        self.rules |= changes.rules
        self.waits += changes.waits
        return changes

    def rollback(self) -> None:
        """Undo the transaction, if SQLite has not done so itself."""
        self.changes = Changes()
        if self.db.in_transaction:
            self.db.execute("ROLLBACK")

    def count(self, queue: str, state: int) -> int:
        """Jobs of a queue in a state, the transaction under way included."""
        return self.counts[queue, state] + self.changes.counts[queue, state]

    def rules_of(self, queue: str) -> QueueRules | None:
        """The rules of a queue, the transaction under way included."""
        return self.changes.rules.get(queue) or self.rules.get(queue)

    def queues(self, state: int) -> Iterator[str]:
        """Queues that have jobs in a state."""
        known = {queue for queue, at in (*self.counts, *self.changes.counts) if at == state}
        return (queue for queue in sorted(known) if self.count(queue, state) > 0)

    def reopen(self) -> None:
        """After an error that the connection does not survive."""
        self.db.close()
        self.db = self._connect()
        self._load()

    def close(self) -> None:
        self.db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One transaction by itself, for callers that have no batch."""
        self.begin()
        try:
            yield
            self.commit()
        except BaseException:
            self.rollback()
            raise
        self.apply()

    def _connect(self) -> sqlite3.Connection:
        try:
            db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, cached_statements=256)
        except sqlite3.OperationalError as exc:
            raise ConfigError(f"the broker cannot open {self.path}: {exc}") from exc
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA cache_size = -65536")
            db.execute("PRAGMA temp_store = MEMORY")
            schema.prepare(db, self.path)
        except sqlite3.DatabaseError as exc:
            db.close()
            raise ConfigError(
                f"the broker cannot use {self.path}: {exc}. If it is damaged, move it away and restore a copy"
            ) from exc
        except BaseException:
            db.close()
            raise
        return db

    def _load(self) -> None:
        self.counts = Counter()
        for queue, state, count in self.db.execute("SELECT queue, state, count(*) FROM jobs GROUP BY queue, state"):
            self.counts[queue, state] = count
        # Nobody can tell how old the leases are: each holder gets a whole one to say that it lives.
        until = self.clock.monotonic() + self.limits.lease
        running = self.db.execute("SELECT id, epoch, cancel_requested FROM jobs WHERE state = 2").fetchall()
        self.leases = {job: Lease(epoch, until) for job, epoch, _ in running}
        self.cancels = {job for job, _, asked in running if asked}
        (self._next,) = self.db.execute(
            "SELECT 1 + max((SELECT coalesce(max(seq), 0) FROM jobs), (SELECT coalesce(max(seq), 0) FROM streams),"
            " (SELECT coalesce(max(claimed), 0) FROM jobs WHERE state = 2))"
        ).fetchone()
        (self.waits,) = self.db.execute("SELECT count(*) FROM waits").fetchone()
        rows = self.db.execute("SELECT queue, rules FROM queues")
        self.rules = {queue: msgspec.msgpack.decode(rules, type=QueueRules) for queue, rules in rows}

    def numbers(self, count: int) -> int:
        """The first of `count` fresh numbers for jobs, streams and claims; they only grow while the engine lives."""
        first = self._next
        self._next += count
        return first


def pack(value: Any) -> bytes:
    """Event data and the like, as stored."""
    return msgspec.msgpack.encode(value)
