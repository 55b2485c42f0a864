"""A bulk write gives way: to locks, to signals, to who asks it to end; and two of them do not lock each other out."""

from __future__ import annotations

import io
import threading
from typing import Any

import pytest
import sqlalchemy as sa

from headgate import bulk
from tests.bulk.conftest import Store
from tests.support.wait import until


@pytest.fixture
def items(store: Store) -> sa.Table:
    table = store.make(sa.Column("id", sa.Integer, primary_key=True, autoincrement=False), sa.Column("n", sa.Integer))
    bulk.insert(table, [(n, 0) for n in range(1_000)], on=store.engine, columns=["id", "n"])
    return table


def ones(count: int = 1_000) -> list[dict[str, int]]:
    return [{"id": n, "n": 1} for n in range(count)]


@pytest.mark.parametrize("store", ["postgresql", "mariadb", "sqlite"], indirect=True)
def test_a_lock_of_somebody_elses_is_waited_for_and_tried_again(store: Store, items: sa.Table) -> None:
    """The chunk gives its own locks back each time, and lands when the other is done."""
    results: list[bulk.Result] = []
    polite = bulk.Politeness(lock_timeout=0.2)
    with store.engine.connect() as other:
        other.execute(sa.text("UPDATE items SET n = 0 WHERE id = 500"))
        writer = threading.Thread(
            target=lambda: results.append(
                bulk.update(items, ones(), on=store.engine.url, politeness=polite, tries=100, progress=False)
            )
        )
        writer.start()
        writer.join(1.5)
        assert writer.is_alive()
        other.rollback()
    writer.join(60)
    assert results[0].written == 1_000
    assert results[0].retries > 0


@pytest.mark.parametrize("store", ["postgresql", "mariadb", "sqlite"], indirect=True)
def test_a_lock_that_never_goes_ends_the_write(store: Store, items: sa.Table) -> None:
    polite = bulk.Politeness(lock_timeout=0.05, first=10, most=10)
    with store.engine.connect() as other:
        other.execute(sa.text("UPDATE items SET n = 0 WHERE id = 5"))
        with pytest.raises(bulk.Stuck, match="2 times"):
            bulk.update(items, ones(), on=store.engine.url, politeness=polite, tries=2)
        other.rollback()


@pytest.mark.parametrize("store", ["postgresql", "mariadb"], indirect=True)
def test_two_writers_in_opposite_orders_do_not_deadlock_for_long(store: Store, items: sa.Table) -> None:
    results: list[bulk.Result] = []

    def write(rows: list[dict[str, int]]) -> None:
        options: dict[str, Any] = {"set": {"n": "{old} + {new}"}, "tries": 100}
        results.append(bulk.update(items, rows, on=store.engine.url, politeness=bulk.Politeness(first=200), **options))

    writers = [threading.Thread(target=write, args=(rows,)) for rows in (ones(), ones()[::-1])]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [result.written for result in results] == [1_000, 1_000]
    assert {row[1] for row in store.rows(items)} == {2}


def test_a_signal_pauses_the_write(store: Store, items: sa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headgate.bulk.writer._SIGNAL_SECONDS", 0.01)
    asked: list[str | None] = []

    def signal() -> str | None:
        asked.append("a standby is behind" if len(asked) < 3 else None)
        return asked[-1]

    result = bulk.update(items, ones(), on=store.engine, politeness=bulk.Politeness(pause=signal))
    assert asked[:4] == ["a standby is behind"] * 3 + [None]
    assert result.written == 1_000


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
def test_replication_lag_is_asked_of_the_primary(store: Store) -> None:
    assert bulk.replication_lag(store.engine, 5.0)() is None  # nobody replicates
    with pytest.raises(bulk.WrongTarget, match="pg_stat_replication"):
        bulk.replication_lag("sqlite://", 5.0)


def test_a_duty_below_one_rests(store: Store, items: sa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []
    monkeypatch.setattr("headgate.bulk.writer.time.sleep", rests.append)
    bulk.update(items, ones(), on=store.engine, politeness=bulk.Politeness(duty=0.5, first=100, most=100))
    assert len(rests) >= 10
    assert all(rest > 0 for rest in rests)


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
def test_the_connections_are_closed_and_the_settings_local(store: Store, items: sa.Table) -> None:
    def sessions() -> int:
        with store.engine.connect() as connection:
            query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            return int(connection.execute(sa.text(query)).scalar_one())

    before = sessions()
    bulk.update(items, ones(), on=store.engine)
    until(lambda: sessions() == before, "the writer's sessions ended")


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_a_terminal_gets_a_bar(store: Store, items: sa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm")
    screen = io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    bulk.update(items, ones(), on=store.engine, progress=True)
    assert "update items" in screen.getvalue()
    assert "1000/1000" in screen.getvalue()
