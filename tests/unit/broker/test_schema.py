"""The data folder of an older Headgate is brought up, that of a newer one is left alone."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from headgate.base.clock import ManualClock
from headgate.base.errors import ConfigError
from headgate.drivers.local import accept, lookup, schema
from headgate.drivers.local.store import Store
from tests.support.contract import spec


def shape(path: Path) -> list[str]:
    """Every table and index as SQLite has it, without its spacing."""
    with sqlite3.connect(path) as db:
        rows = db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name").fetchall()
    db.close()
    return ["".join(sql.split()) for (sql,) in rows]


def version_one(path: Path) -> None:
    """A folder as the first release left it: without crons and waits."""
    Store(path, ManualClock()).close()
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE crons")
        db.execute("DROP TABLE waits")
        db.execute("PRAGMA user_version = 1")
    db.close()


def test_an_older_schema_is_migrated_with_what_is_in_it(tmp_path: Path) -> None:
    fresh, old = tmp_path / "fresh.db", tmp_path / "old.db"
    Store(fresh, ManualClock()).close()
    version_one(old)
    with sqlite3.connect(old) as db:
        db.execute("INSERT INTO streams VALUES (7, 'kept', 0, 0, NULL)")
    db.close()
    store = Store(old, ManualClock())
    with store.transaction():
        accept.put(store, [spec()])
    assert lookup.stats(store) == {"default": {"queued": 1}}
    assert store.db.execute("SELECT name FROM streams").fetchall() == [("kept",)]
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
