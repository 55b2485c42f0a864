"""Each source row is applied exactly once, whatever is killed, cut or frozen, and whenever."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from headgate import bulk
from headgate.base.errors import JobCancelled, LeaseLost
from headgate.base.jobcontext import CURRENT
from headgate.base.model import JobRecord, JobSpec, JobState
from headgate.bulk import names
from headgate.bulk.errors import SourceChanged
from headgate.bulk.model import Advance
from headgate.bulk.target import database_for
from tests.bulk import killing, victim
from tests.bulk.conftest import Store

SMALL = bulk.Politeness(first=10, most=10)


@pytest.mark.parametrize("store", ["postgresql", "mariadb", "sqlite", "anydb"], indirect=True)
def test_random_kills_leave_equal_sums(store: Store) -> None:
    """The short form; `soak_kills.py` does it 200 times on every database."""
    killing.prepare(store)
    writes = killing.kill_often(store, kills=3, count=12_000, seed=1)
    killing.check(store, 12_000, writes)


@pytest.mark.parametrize("store", ["postgresql", "mariadb", "sqlite", "anydb"], indirect=True)
def test_a_frozen_writer_that_was_overtaken_is_fenced(store: Store) -> None:
    killing.prepare(store)
    killing.stop_and_overtake(store, 12_000)
    killing.check(store, 12_000)


@pytest.fixture
def stock(store: Store) -> sa.Table:
    table = store.make(sa.Column("id", sa.Integer, primary_key=True, autoincrement=False), sa.Column("n", sa.Integer))
    bulk.insert(table, [(n, 0) for n in range(100)], on=store.engine, columns=["id", "n"])
    return table


def once(n: int) -> list[dict[str, int]]:
    return [{"id": number, "n": 1} for number in range(n)]


class Breaks(Exception):
    """What a source raises in the middle of a read."""


def breaking(rows: list[dict[str, int]], after: int) -> Iterator[dict[str, int]]:
    yield from rows[:after]
    raise Breaks


def test_a_named_write_goes_on_after_its_last_chunk(store: Store, stock: sa.Table) -> None:
    options: dict[str, Any] = {"on": store.engine, "name": "n", "set": {"n": "{old} + {new}"}, "politeness": SMALL}
    with pytest.raises(Breaks):
        bulk.update(stock, breaking(once(100), 57), **options)
    result = bulk.update(stock, once(100), **options)
    assert 40 <= result.resumed_at < 60
    assert (result.rows, result.written) == (100, 100)
    assert {row[1] for row in store.rows(stock)} == {1}


def test_a_finished_name_is_not_done_again(store: Store, stock: sa.Table) -> None:
    options: dict[str, Any] = {"on": store.engine, "name": "n", "set": {"n": "{old} + {new}"}}
    first = bulk.update(stock, once(100), **options)
    again = bulk.update(stock, once(100), **options)
    assert (again.rows, again.written, again.chunks) == (first.rows, first.written, 0)
    assert {row[1] for row in store.rows(stock)} == {1}


def test_another_source_under_the_same_name_is_refused(store: Store, stock: sa.Table) -> None:
    options: dict[str, Any] = {"on": store.engine, "name": "n", "politeness": SMALL}
    with pytest.raises(Breaks):
        bulk.update(stock, breaking(once(100), 50), **options)
    with pytest.raises(SourceChanged, match="not the row"):
        bulk.update(stock, [{"id": n, "n": 2} for n in range(100)], **options)
    with pytest.raises(SourceChanged, match="has only 5"):
        bulk.update(stock, once(5), **options)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_file_is_resumed_where_it_stood(store: Store, stock: sa.Table, workdir: Path, suffix: str) -> None:
    path = workdir / f"rows.{suffix}"
    good = [f"{n},1" if suffix == "csv" else f'{{"id": {n}, "n": 1}}' for n in range(100)]
    head = ["id,n"] if suffix == "csv" else []
    broken = [*head, *good[:55], "x" if suffix == "csv" else "{", *good[56:]]
    path.write_text("\n".join(broken))
    options: dict[str, Any] = {"on": store.engine, "name": "n", "set": {"n": "{old} + {new}"}, "politeness": SMALL}
    with pytest.raises(bulk.BadRow) as caught:
        bulk.update(stock, path, **options)
    assert caught.value.row == 56
    assert sum(row[1] for row in store.rows(stock)) == 55
    path.write_text("\n".join([*head, *good]))
    assert bulk.update(stock, path, **options).resumed_at == 55
    assert {row[1] for row in store.rows(stock)} == {1}


def test_calls_without_a_name_leave_no_checkpoint(store: Store, stock: sa.Table) -> None:
    bulk.update(stock, once(10), on=store.engine)
    assert store.rows("headgate_bulk", "name") == []


class Job:
    """A job context as `headgate.declare` gives it."""

    def __init__(self, job_id: str, epoch: int = 1, cancel_after: int = 1_000_000) -> None:
        self.record = JobRecord(
            spec=JobSpec(id=job_id, function="f", arguments=b""), state=JobState.RUNNING, epoch=epoch
        )
        self.told: list[tuple[float, float | None, dict[str, Any]]] = []
        self._checks = itertools.count()
        self._cancel_after = cancel_after

    @property
    def id(self) -> str:
        return self.record.spec.id

    def progress(self, done: float, total: float | None = None, **extra: Any) -> None:
        self.told.append((done, total, extra))

    def raise_if_cancelled(self) -> None:
        if next(self._checks) >= self._cancel_after:
            raise JobCancelled("asked to end")


def in_job(job: Job, call: Any) -> Any:
    token = CURRENT.set(job)
    try:
        return call()
    finally:
        CURRENT.reset(token)


def test_in_a_job_everything_comes_by_itself(store: Store, stock: sa.Table) -> None:
    """Two calls in one job, cancelled in the second; the retry skips the first and resumes the second."""

    def work() -> list[bulk.Result]:
        options: dict[str, Any] = {"on": store.engine, "set": {"n": "{old} + {new}"}, "politeness": SMALL}
        return [bulk.update(stock, once(60), **options), bulk.update(stock, once(100), **options)]

    first = Job(store.engine.url.database or "", epoch=1, cancel_after=10)
    with pytest.raises(JobCancelled):
        in_job(first, work)
    second = Job(first.id, epoch=2)
    results = in_job(second, work)
    assert results[0].chunks == 0
    assert 0 < results[1].resumed_at < 100
    assert [row[1] for row in store.rows(stock)] == [2] * 60 + [1] * 40
    assert second.told[-1][:2] == (100, 100)
    assert "rows_per_second" in second.told[-1][2]
    names._calls.clear()  # the first try's process, which does not know that it was given up
    with pytest.raises(LeaseLost, match="newer try"):
        in_job(Job(first.id, epoch=1), work)


@pytest.mark.parametrize("store", ["postgresql", "mariadb", "mariadb-rows", "anydb"], indirect=True)
def test_a_writer_that_was_overtaken_writes_nothing_more(store: Store, stock: sa.Table) -> None:
    options: dict[str, Any] = {"on": store.engine, "name": "n", "set": {"n": "{old} + {new}"}, "politeness": SMALL}

    def overtaken() -> Iterator[dict[str, int]]:
        for number, row in enumerate(once(100)):
            if number == 50:
                other = database_for(store.engine)
                other.claim("n", 0)
                other.close()
            yield row

    with pytest.raises(LeaseLost):
        bulk.update(stock, overtaken(), **options)
    assert sum(row[1] for row in store.rows(stock)) <= 60
    bulk.update(stock, once(100), **options)
    assert {row[1] for row in store.rows(stock)} == {1}


def cut_connections(store: Store) -> None:
    """End every other session of the store's database, as an operator or a failover does."""
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if store.postgres:
            connection.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
            return
        found = connection.execute(
            sa.text("SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()")
        ).all()
        for (number,) in found:
            try:
                connection.execute(sa.text(f"KILL {number}"))
            except sa.exc.OperationalError:
                continue  # it has ended by itself


@pytest.mark.parametrize("store", ["postgresql", "mariadb"], indirect=True)
def test_lost_connections_are_made_anew(store: Store) -> None:
    """Sessions are ended from outside while the write goes on: it ends by itself, each row applied once."""
    killing.prepare(store)
    done = threading.Event()

    def cut() -> None:
        while not done.wait(0.15):
            cut_connections(store)

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        result = bulk.update(
            "items",
            victim.rows(12_000),
            on=store.engine.url,
            columns=["id", "stock"],
            set={"stock": "{old} + {new}"},
            name="write 0",
            politeness=bulk.Politeness(first=100, most=200),
            tries=50,
        )
    finally:
        done.set()
        cutter.join(20)
    assert result.retries > 0
    killing.check(store, 12_000)


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
def test_a_lost_commit_answer_is_found_in_the_checkpoint(store: Store, stock: sa.Table, monkeypatch: Any) -> None:
    """The commit arrives and its answer does not: the chunk must not be applied again."""
    from headgate.bulk.failures import TryAgain
    from headgate.bulk.postgres.database import Postgres

    original = Postgres.merge
    calls = itertools.count()

    def merge(self: Postgres, lane: int, advance: Advance) -> Any:
        merged = original(self, lane, advance)
        if next(calls) % 3 == 0:
            raise TryAgain("the answer was lost", lost=True)
        return merged

    monkeypatch.setattr(Postgres, "merge", merge)
    result = bulk.update(stock, once(100), on=store.engine, set={"n": "{old} + {new}"}, politeness=SMALL)
    assert {row[1] for row in store.rows(stock)} == {1}
    assert (result.written, result.retries) == (100, 4)


def test_old_checkpoints_are_swept(store: Store, stock: sa.Table) -> None:
    """Those of finished writes and of unnamed ones that died; an unfinished one with a name is somebody's to resume."""
    bulk.update(stock, once(10), on=store.engine, name="finished")
    database = database_for(store.engine)
    database.claim("call/died", 0)
    database.claim("unfinished", 0)
    database.close()
    old = {"postgresql": "now() - interval '8 days'", "sqlite": "0", "anydb": "0"}.get(store.kind, "'2020-01-01'")
    store.run(f"UPDATE headgate_bulk SET updated_at = {old}")
    bulk.update(stock, once(10), on=store.engine)
    assert [row[0] for row in store.rows("headgate_bulk", "name")] == ["unfinished"]
