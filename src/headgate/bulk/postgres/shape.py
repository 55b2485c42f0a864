"""A table as PostgreSQL's catalogue describes it."""

from __future__ import annotations

from typing import Any, Final

import psycopg

from headgate.bulk.errors import WrongTarget
from headgate.bulk.model import Column, Kind, Table
from headgate.bulk.postgres.sql import quoted

_COLUMNS: Final = """SELECT a.attname, format_type(a.atttypid, a.atttypmod), b.typname, b.typtype, b.typcategory,
    e.typname, e.typtype, NOT a.attnotnull, a.atthasdef OR a.attidentity <> '', a.attgenerated <> '',
    a.attidentity = 'a', ARRAY(SELECT l.enumlabel FROM pg_enum l
        WHERE l.enumtypid = CASE WHEN b.typcategory = 'A' THEN e.oid ELSE b.oid END ORDER BY l.enumsortorder)
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
LEFT JOIN pg_type e ON e.oid = b.typelem AND b.typcategory = 'A'
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"""

_KEYS: Final = """SELECT i.indisprimary, ARRAY(SELECT a.attname FROM unnest(i.indkey) WITH ORDINALITY k(n, o)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n WHERE k.o <= i.indnkeyatts ORDER BY k.o)
FROM pg_index i WHERE i.indrelid = %s AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL
ORDER BY i.indisprimary DESC, i.indexrelid"""

_KINDS: Final = {
    "int2": Kind.INTEGER,
    "int4": Kind.INTEGER,
    "int8": Kind.INTEGER,
    "float4": Kind.FLOAT,
    "float8": Kind.FLOAT,
    "numeric": Kind.DECIMAL,
    "bool": Kind.BOOLEAN,
    "text": Kind.TEXT,
    "varchar": Kind.TEXT,
    "bpchar": Kind.TEXT,
    "name": Kind.TEXT,
    "citext": Kind.TEXT,
    "bytea": Kind.BYTES,
    "date": Kind.DATE,
    "time": Kind.TIME,
    "timetz": Kind.TIME,
    "timestamp": Kind.TIMESTAMP,
    "timestamptz": Kind.TIMESTAMPTZ,
    "interval": Kind.INTERVAL,
    "json": Kind.JSON,
    "jsonb": Kind.JSON,
    "uuid": Kind.UUID,
}
_BITS: Final = {"int2": 16, "int4": 32, "int8": 64}


def _kind(name: str, sort: str) -> Kind:
    return Kind.ENUM if sort == "e" else _KINDS.get(name, Kind.OTHER)


def _column(row: tuple[Any, ...]) -> Column:
    name, spelling, base, sort, category, item, item_sort, nullable, optional, generated, always, labels = row
    array = category == "A" and item is not None
    return Column(
        name=name,
        kind=Kind.ARRAY if array else _kind(base, sort),
        type=spelling,
        nullable=nullable,
        optional=optional,
        generated=generated,
        always=always,
        labels=tuple(labels),
        item=_kind(item, item_sort) if array else None,
        bits=_BITS.get(base),
    )


def describe(connection: psycopg.Connection[Any], schema: str | None, name: str) -> Table:
    """Read a table's shape.

    Raises:
        WrongTarget: no such table on the search path.
    """
    label = f"{quoted(schema)}.{quoted(name)}" if schema else quoted(name)
    found = connection.execute("SELECT to_regclass(%s)::oid", (label,)).fetchone()
    if found is None or found[0] is None:
        raise WrongTarget(f"there is no table {label} in this database; check its name, schema and search_path")
    columns = [_column(row) for row in connection.execute(_COLUMNS, (found[0],))]
    keys = connection.execute(_KEYS, (found[0],)).fetchall()
    return Table(
        schema=schema,
        name=name,
        columns={column.name: column for column in columns},
        primary_key=next((tuple(names) for primary, names in keys if primary), ()),
        unique=tuple(tuple(names) for primary, names in keys if not primary),
    )
