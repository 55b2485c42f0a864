"""Claims: taking, renewing, reporting, settling, and what happens when the worker is gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from headgate.base import lifecycle
from headgate.base.errors import LeaseLost, TooLarge
from headgate.base.model import Claim, NewEvent, Settlement, job_stream
from headgate.drivers.embedded.wire import PAGE_BYTES
from headgate.drivers.local import retention
from headgate.drivers.local.rates import Rates
from headgate.drivers.local.rows import SELECT, Row, carry_out, fetch, write_events
from headgate.drivers.local.schema import QUEUED, RUNNING
from headgate.drivers.local.store import Lease, Store, pack


def claim(
    store: Store, rates: Rates, worker: str, queues: Sequence[str], most: int, functions: Sequence[str] | None
) -> list[Claim]:
    """Claim up to `most` jobs that may run now: by priority, then by order of acceptance."""
    claims: list[Claim] = []
    while len(claims) < most:
        rows = _bounded(_candidates(store, rates, queues, most - len(claims), functions))
        late = [row for row in rows if (at := row.decoded().deadline) is not None and at < store.now]
        for row in late:
            spec = row.decoded()
            carry_out(store, row, spec, lifecycle.overdue(row.standing(spec)))
        claims += _hold(store, rates, worker, [row for row in rows if row not in late] if late else rows)
        if not late:
            break
    return claims


def _candidates(
    store: Store, rates: Rates, queues: Sequence[str], most: int, functions: Sequence[str] | None
) -> list[Row]:
    names = store.queues(QUEUED) if "*" in queues else (name for name in queues if store.count(name, QUEUED) > 0)
    rows: list[Row] = []
    asked = 0
    for name in names:
        allowed = min(most, rates.allowance(store, name))
        if allowed > 0:
            asked += 1
            rows += _ready(store, name, allowed, functions)
    if asked > 1:
        turns = rates.turns(store, rows)
        rows.sort(key=lambda row: (-row.priority, turns[row.seq], row.seq))
        del rows[most:]
    return rows


def _ready(store: Store, queue: str, most: int, functions: Sequence[str] | None) -> list[Row]:
    where, values = "WHERE j.state = 1 AND j.held = 0 AND j.queue = ? ", [queue]
    if functions is not None:
        where += "AND j.function IN (SELECT value FROM json_each(?)) "
        values.append(msgspec.json.encode(list(functions)).decode())
    query = SELECT + where + "ORDER BY j.priority DESC, j.seq LIMIT ?"
    return [Row._make(row) for row in store.db.execute(query, (*values, most))]


def _bounded(rows: list[Row]) -> list[Row]:
    """As many as fit into one answer, at least one."""
    size = 0
    for at, row in enumerate(rows):
        size += len(row.spec) + len(row.checkpoint or b"") + len(row.result or b"")
        if at and size > PAGE_BYTES:
            return rows[:at]
    return rows


def _hold(store: Store, rates: Rates, worker: str, rows: Sequence[Row]) -> list[Claim]:
    first = store.numbers(len(rows))
    until = store.clock.monotonic() + store.limits.lease
    claims, updates = [], []
    for claimed, row in enumerate(rows, first):
        started = (NewEvent("started", {"worker": worker, "try": row.tries + 1}),)
        last = write_events(store, row.seq, job_stream(row.id), row.last, started)
        updates.append((worker, store.now, claimed, last, row.seq))
        store.changes.counts[row.queue, QUEUED] -= 1
        store.changes.counts[row.queue, RUNNING] += 1
        store.changes.leases[row.id] = Lease(row.epoch + 1, until)
        rates.started(store, row.queue)
        held = row._replace(
            state=RUNNING, tries=row.tries + 1, epoch=row.epoch + 1, worker=worker, started_at=store.now, last=last
        )
        claims.append(Claim(held.record(), store.limits.lease))
    store.db.executemany(
        "UPDATE jobs SET state = 2, tries = tries + 1, epoch = epoch + 1, reported = 0, worker = ?, started_at = ?,"
        " claimed = ?, last = ? WHERE seq = ?",
        updates,
    )
    return claims


def renew(store: Store, held: Mapping[str, int]) -> dict[str, str]:
    """Extend leases; they are not in the tables, so this needs no transaction and works on a full disk."""
    until = store.clock.monotonic() + store.limits.lease
    verdicts: dict[str, str] = {}
    for job, epoch in held.items():
        lease = store.leases.get(job)
        if lease is None or lease.epoch != epoch:
            verdicts[job] = "lost"
            continue
        store.leases[job] = Lease(epoch, until)
        if job in store.cancels:
            verdicts[job] = "cancel"
    return verdicts


def report(
    store: Store, job: str, epoch: int, number: int, events: Sequence[NewEvent], checkpoint: bytes | None
) -> None:
    """Append what a running job says of itself.

    Raises:
        LeaseLost: the claim is not the newest.
        TooLarge: the checkpoint exceeds its bound.
    """
    if checkpoint is not None and len(checkpoint) > store.limits.checkpoint_bytes:
        raise TooLarge(
            f"the checkpoint of job {job} has {len(checkpoint)} bytes and may have {store.limits.checkpoint_bytes}; "
            "it was not stored. Keep a position, not the data, or raise job_arguments_bytes"
        )
    row = fetch(store, job)
    if row is None or row.state != RUNNING or row.epoch != epoch:
        raise LeaseLost(f"job {job} is no longer held under epoch {epoch}; its report was refused")
    if number <= row.reported:
        return
    last = write_events(store, row.seq, job_stream(job), row.last, events)
    newest = next((event.data for event in reversed(events) if event.kind == "progress"), None)
    values: tuple[Any, ...] = (last, number, None if newest is None else pack(newest), checkpoint, row.seq)
    store.db.execute(
        "UPDATE jobs SET last = ?, reported = ?, progress = coalesce(?, progress), checkpoint = coalesce(?, checkpoint)"
        " WHERE seq = ?",
        values,
    )
    retention.trim(store, row.seq, row.last, last, retention.of_job(store))


def settle(store: Store, settlements: Sequence[Settlement]) -> list[bool]:
    """End claims; False where the fence refuses. A settlement that is repeated is answered as the first time."""
    return [_settle(store, said) for said in settlements]


def _settle(store: Store, said: Settlement) -> bool:
    row = fetch(store, said.id)
    if row is None or row.epoch != said.epoch:
        return False
    if row.state != RUNNING:
        # A loss raises the epoch, so under this one only a settlement can have ended the claim.
        return True
    spec = row.decoded()
    step = lifecycle.settled(row.standing(spec), said, store.random.random())
    carry_out(store, row, spec, step, result=said.result, cpu=said.cpu, peak_rss=said.peak_rss)
    return True


def abandon(store: Store, worker: str, running: Sequence[str] | None = None) -> int:
    """The worker is dead. `running` names what it was running; if nobody knows, it ran its claims in their order."""
    query = SELECT + "WHERE j.state = 2 AND j.worker = ? ORDER BY j.claimed"
    rows = [Row._make(row) for row in store.db.execute(query, (worker,))]
    for at, row in enumerate(rows):
        _lose(store, row, worker, begun=at == 0 if running is None else row.id in running)
    return len(rows)


def holders(store: Store) -> list[str]:
    """The job workers that hold something."""
    return [worker for (worker,) in store.db.execute("SELECT DISTINCT worker FROM jobs WHERE state = 2")]


def reconcile(store: Store, worker: str, held: Mapping[str, int]) -> int:
    """The worker has connected anew: claims that it does not know of never reached it, and were never begun."""
    query = SELECT + "WHERE j.state = 2 AND j.worker = ? ORDER BY j.claimed"
    rows = [Row._make(row) for row in store.db.execute(query, (worker,))]
    unknown = [row for row in rows if held.get(row.id) != row.epoch]
    for row in unknown:
        _lose(store, row, worker, begun=False)
    return len(unknown)


def expire(store: Store) -> int:
    """Leases that have run out: the oldest claim of each worker counts as begun, as in `abandon`."""
    now = store.clock.monotonic()
    over = [job for job, lease in store.leases.items() if lease.until <= now]
    for job in over:
        row = fetch(store, job)
        if row is None or row.state != RUNNING:
            store.changes.leases[job] = None
            continue
        oldest = store.db.execute(
            "SELECT seq FROM jobs WHERE state = 2 AND worker = ? ORDER BY claimed LIMIT 1", (row.worker,)
        ).fetchone()
        _lose(store, row, row.worker or "a job worker", begun=oldest == (row.seq,))
    return len(over)


def _lose(store: Store, row: Row, worker: str, *, begun: bool) -> None:
    spec = row.decoded()
    step = lifecycle.lost(row.standing(spec), worker, begun=begun)
    carry_out(store, row, spec, step, fence=True)
