"""What is written to: a table, and the database that it is in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy import orm

from headgate.bulk.engine import Database
from headgate.bulk.errors import WrongTarget
from headgate.bulk.model import Encoder


@dataclass(frozen=True)
class Target:
    """A table by name, its engine, and what a model knows beyond the database."""

    engine: sa.Engine
    schema: str | None
    name: str
    rename: Mapping[str, str] = field(default_factory=dict)
    """Attribute of the model → column, where they differ."""
    before: Mapping[str, Encoder] = field(default_factory=dict)
    """Column → conversion by the model's own type."""


def engine_of(on: Any) -> sa.Engine:
    """The engine behind an engine, a URL, or a Flask-SQLAlchemy `db`.

    Raises:
        WrongTarget: it is none of them.
    """
    if isinstance(on, sa.Engine):
        return on
    if isinstance(on, str | sa.URL):
        return sa.create_engine(on, poolclass=sa.NullPool)
    if isinstance(on, sa.Connection | orm.Session | orm.scoped_session):
        raise WrongTarget(
            f"a {type(on).__name__} has a transaction of its own and a bulk write commits chunk by chunk; "
            "give the engine, the URL or the Flask-SQLAlchemy db"
        )
    for attribute in ("sync_engine", "engine"):
        found = getattr(on, attribute, None)
        if isinstance(found, sa.Engine):
            return found
    raise WrongTarget(f"on={on!r} is no SQLAlchemy engine, URL or Flask-SQLAlchemy db")


def resolve(target: Any, on: Any) -> Target:
    """Find the table and its engine.

    Args:
        target: a SQLAlchemy table, a mapped class, or a name (`"orders"`, `"shop.orders"`).
        on: see `engine_of`; may be left out for a Flask-SQLAlchemy model within an app context.

    Raises:
        WrongTarget
    """
    if on is None:
        on = getattr(target, "__fsa__", None)
        if on is None:
            raise WrongTarget("which database? give on= an engine, a URL or the Flask-SQLAlchemy db")
    engine = engine_of(on)
    if isinstance(target, str):
        schema, _, name = target.rpartition(".")
        return Target(engine, schema or None, name)
    if isinstance(target, sa.Table):
        return Target(engine, target.schema, target.name, before=_conversions(target, engine))
    mapper = sa.inspect(target, raiseerr=False)
    if not isinstance(mapper, orm.Mapper) or not isinstance(mapper.local_table, sa.Table):
        raise WrongTarget(f"{target!r} is no table name, SQLAlchemy table or mapped class")
    table = mapper.local_table
    rename = {attribute.key: attribute.columns[0].name for attribute in mapper.column_attrs}
    return Target(engine, table.schema, table.name, rename, _conversions(table, engine))


def _conversions(table: sa.Table, engine: sa.Engine) -> dict[str, Encoder]:
    """The bind processors of types that a model defines itself; the database's own types need none here."""
    found: dict[str, Encoder] = {}
    for column in table.columns:
        own = column.type
        if isinstance(own, sa.TypeDecorator) or (isinstance(own, sa.Enum) and own.enum_class is not None):
            convert = _conversion(own, engine)
            if convert is not None:
                found[column.name] = convert
    return found


def _conversion(own: Any, engine: sa.Engine) -> Encoder | None:
    if isinstance(own, sa.TypeDecorator):
        return lambda value: own.process_bind_param(value, engine.dialect)
    processor = own.dialect_impl(engine.dialect).bind_processor(engine.dialect)
    return cast("Encoder | None", processor)


def database_for(engine: sa.Engine) -> Database:
    """The fastest way to write to the engine's database."""
    name = engine.dialect.name
    if name == "postgresql":
        from headgate.bulk.postgres.database import Postgres

        return Postgres(engine)
    if name in ("mysql", "mariadb"):
        from headgate.bulk.mysql.database import MySQL

        return MySQL(engine)
    if name == "sqlite":
        from headgate.bulk.sqlite.database import SQLite

        return SQLite(engine)
    from headgate.bulk.anydb.database import AnyDatabase

    return AnyDatabase(engine)
