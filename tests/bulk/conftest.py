"""The databases of the bulk tests: each test runs on every one of them unless it names its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from headgate.bulk import target
from headgate.bulk.anydb.database import AnyDatabase
from headgate.bulk.engine import Database
from tests.support.mariadb import MariaDB
from tests.support.postgres import Postgres

KINDS = ("postgresql", "mariadb", "mariadb-rows", "sqlite", "anydb")
_numbers = itertools.count(1)


@dataclass
class Store:
    """One database of a test, empty."""

    kind: str
    engine: sa.Engine

    @property
    def postgres(self) -> bool:
        return self.kind == "postgresql"

    @property
    def mariadb(self) -> bool:
        return self.kind.startswith("mariadb")

    def make(self, *columns: sa.schema.SchemaItem, name: str = "items") -> sa.Table:
        """Create a table."""
        table = sa.Table(name, sa.MetaData(), *columns)
        table.create(self.engine)
        return table

    def rows(self, table: sa.Table | str, order: str = "id") -> list[tuple[Any, ...]]:
        name = table if isinstance(table, str) else table.name
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(f"SELECT * FROM {name} ORDER BY {order}"))]

    def run(self, statement: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.text(statement))


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """One MariaDB for the whole run."""
    with MariaDB() as server:
        yield server


def url_for(kind: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """A new database's URL. Only the servers that are asked for are started."""
    if kind == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        return server.create(f"bulk_{next(_numbers)}").replace("postgresql://", "postgresql+psycopg://")
    if kind.startswith("mariadb"):
        maria: MariaDB = request.getfixturevalue("mariadb")
        return maria.create(f"bulk_{next(_numbers)}")
    return f"sqlite:///{folder}/bulk.db"


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty database of each kind; `anydb` is the path through SQLAlchemy's Core, on SQLite."""
    kind: str = request.param
    engine = sa.create_engine(url_for(kind, request, workdir))
    if kind == "sqlite":
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    if kind == "anydb":
        monkeypatch.setattr(target, "database_for", _any_database)
    if kind == "mariadb-rows":
        without_load_data(monkeypatch)
    yield Store(kind, engine)
    engine.dispose()


def _any_database(engine: sa.Engine) -> Database:
    return AnyDatabase(engine)


def without_load_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a server with `local_infile=0`."""
    from headgate.bulk.mysql.database import MySQL

    monkeypatch.setattr(MySQL, "_load", property(lambda self: False, lambda self, value: None), raising=False)
