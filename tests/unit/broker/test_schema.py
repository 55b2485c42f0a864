"""The data folder of an older Headgate is brought up, that of a newer one is left alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from headgate.base.clock import ManualClock
from headgate.base.errors import ConfigError
from headgate.drivers.local import accept, claims, lookup, schema, streams
from headgate.drivers.local.rates import Rates
from headgate.drivers.local.store import Store
from tests.support.contract import spec


def shape(path: Path) -> list[str]:
    """Every table and index as SQLite has it, without its spacing."""
    with sqlite3.connect(path) as db:
        rows = db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name").fetchall()
    db.close()
    return ["".join(sql.split()) for (sql,) in rows]


def version_two(path: Path) -> None:
    """A file of schema 2, made by its own statements."""
    with sqlite3.connect(path) as db:
        db.executescript((Path(__file__).parent / "schema_2.sql").read_text())
        db.execute(f"PRAGMA application_id = {schema.APPLICATION}")
        db.execute("PRAGMA user_version = 2")
        db.execute("INSERT INTO streams VALUES (7, 'kept', 1, 0, NULL)")
        db.execute("INSERT INTO events VALUES (7, 1, 'log', x'c0', 1.0, 0)")
        job = spec(tags=("old",))
        row = (8, job.id, job.queue, job.function, schema.QUEUED, 0, 1, 1.0)
        db.execute(
            "INSERT INTO jobs (seq, id, queue, function, state, priority, last, enqueued_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        )
        db.execute("INSERT INTO specs VALUES (8, ?)", (msgspec.msgpack.encode(job),))
    db.close()


def version_one(path: Path) -> None:
    """A file of schema 1: without crons and waits."""
    version_two(path)
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE crons")
        db.execute("DROP TABLE waits")
        db.execute("PRAGMA user_version = 1")
    db.close()


@pytest.mark.parametrize("older", [version_one, version_two])
def test_an_older_schema_is_migrated_with_what_is_in_it(tmp_path: Path, older: Callable[[Path], None]) -> None:
    fresh, old = tmp_path / "fresh.db", tmp_path / "old.db"
    Store(fresh, ManualClock()).close()
    older(old)
    store = Store(old, ManualClock())
    with store.transaction():
        accept.put(store, [spec()])
        (claim, _) = claims.claim(store, Rates(store.clock), "w1", ["*"], 2, None)
    assert claim.job.spec.tags == ("old",)
    assert lookup.stats(store) == {"default": {"running": 2}}
    assert [event.offset for event in streams.read(store, "kept", 0, 10).events] == [1]
    store.close()
    assert shape(old) == shape(fresh)
    Store(old, ManualClock()).close()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "old.db"
    version_one(path)
    before = shape(path)

    def fails(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE half_done (x)")
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(schema, "MIGRATIONS", {1: fails})
    with pytest.raises(ConfigError, match="cannot use"):
        Store(path, ManualClock())
    assert shape(path) == before


def test_every_version_has_a_way_up() -> None:
    assert sorted(schema.MIGRATIONS) == list(range(1, schema.VERSION))


def test_a_newer_schema_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    Store(path, ManualClock()).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    db.close()
    with pytest.raises(ConfigError, match="newer Headgate"):
        Store(path, ManualClock())
