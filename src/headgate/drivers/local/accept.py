"""Accepting jobs: all of a put or none, each id once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from headgate.base.errors import ConfigError, QueueFull, TooLarge
from headgate.base.model import JobSpec, NewEvent, Receipt, job_stream
from headgate.drivers.local import keys, waits
from headgate.drivers.local.rows import write_events
from headgate.drivers.local.schema import QUEUED, SCHEDULED
from headgate.drivers.local.store import Store

_INSERT = (
    "INSERT INTO jobs (seq, id, queue, function, state, priority, due, deadline, key, key_limit, idempotency_key, last,"
    " enqueued_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?)"
)


def put(store: Store, specs: Sequence[JobSpec]) -> list[Receipt]:
    """Accept jobs.

    Raises:
        QueueFull: one queue would exceed its depth; none is accepted.
        TooLarge: the arguments of one exceed their bound.
        UnknownJob: one waits for a job that there is not.
    """
    receipts = [Receipt(spec.id) for spec in specs]
    fresh: dict[str, JobSpec] = {}
    keyed: dict[str, str] = {}
    older_of: dict[str, str] = {}
    known = _known_ids(store, specs)
    for at, spec in enumerate(specs):
        if spec.id in known or spec.id in fresh:
            continue
        if spec.idempotency_key is not None:
            older = keyed.get(spec.idempotency_key) or _by_idempotency_key(store, spec.idempotency_key)
            if older is not None:
                receipts[at] = Receipt(older, created=False)
                older_of[spec.id] = older
                continue
            keyed[spec.idempotency_key] = spec.id
        if older_of and spec.after:
            spec = msgspec.structs.replace(spec, after=tuple(older_of.get(needed, needed) for needed in spec.after))
        fresh[spec.id] = spec
    if fresh:
        _check_sizes(store, fresh.values())
        waits.check(store, fresh)
        _check_depth(store, fresh.values())
        _insert(store, list(fresh.values()))
    return receipts


def _known_ids(store: Store, specs: Sequence[JobSpec]) -> set[str]:
    if len(specs) == 1:
        rows = store.db.execute("SELECT id FROM jobs WHERE id = ?", (specs[0].id,))
    else:
        ids = msgspec.json.encode([spec.id for spec in specs]).decode()
        rows = store.db.execute("SELECT id FROM jobs WHERE id IN (SELECT value FROM json_each(?))", (ids,))
    return {job for (job,) in rows}


def _by_idempotency_key(store: Store, key: str) -> str | None:
    row = store.db.execute("SELECT id FROM jobs WHERE idempotency_key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])


def _check_sizes(store: Store, specs: Iterable[JobSpec]) -> None:
    bound = store.limits.arguments_bytes
    for spec in specs:
        if spec.carrier is not None:
            raise ConfigError(
                f"a {spec.function} job is for the workers of {spec.carrier}, and this broker speaks only to its own; "
                'nothing was enqueued. Use broker = "redis://…"'
            )
        if len(spec.arguments) > bound:
            raise TooLarge(
                f"the arguments of a {spec.function} job have {len(spec.arguments)} bytes and may have {bound}; "
                "nothing was enqueued. Store the data elsewhere and pass where it is, or raise job_arguments_bytes"
            )


def _check_depth(store: Store, specs: Any) -> None:
    for queue, more in Counter(spec.queue for spec in specs).items():
        rules = store.rules_of(queue)
        depth = rules.depth if rules is not None and rules.depth is not None else store.limits.queue_depth
        waiting = store.count(queue, QUEUED) + store.count(queue, SCHEDULED)
        if waiting + more > depth:
            raise QueueFull(
                f"queue {queue!r} holds {waiting} waiting jobs and may hold {depth}; {more} more were not accepted. "
                "Try again later, add job workers, or raise queue_depth"
            )


def _insert(store: Store, specs: Sequence[JobSpec]) -> None:
    first = store.numbers(len(specs))
    jobs, bodies, tags = [], [], []
    for seq, spec in enumerate(specs, first):
        later = bool(spec.after) or (spec.not_before is not None and spec.not_before > store.now)
        state = SCHEDULED if later else QUEUED
        due = spec.not_before if later and not spec.after else None
        head = (seq, spec.id, spec.queue, spec.function, state, spec.priority, due)
        jobs.append((*head, spec.deadline, spec.key, spec.limit, spec.idempotency_key, store.now))
        bodies.append((seq, msgspec.msgpack.encode(spec)))
        tags += [(tag, seq) for tag in set(spec.tags)]
        store.changes.counts[spec.queue, state] += 1
        if due is not None:
            store.changes.falls_due(due)
        elif not later:
            store.changes.ready = True
    store.db.executemany(_INSERT, jobs)
    store.db.executemany("INSERT INTO specs VALUES (?, ?)", bodies)
    if tags:
        store.db.executemany("INSERT INTO tags VALUES (?, ?)", tags)
    for seq, spec in enumerate(specs, first):
        said = {"queue": spec.queue} | ({"not_before": spec.not_before} if spec.not_before else {})
        write_events(store, seq, job_stream(spec.id), 0, (NewEvent("queued", said),))
        if spec.after:
            waits.begin(store, seq, spec)
        elif spec.key is not None and not (spec.not_before is not None and spec.not_before > store.now):
            keys.entered(store, seq, spec.key, spec.limit)
