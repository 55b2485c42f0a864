"""A table as the information schema of MySQL or MariaDB describes it."""

from __future__ import annotations

import re
from typing import Any, Final

from headgate.bulk.errors import WrongTarget
from headgate.bulk.model import Column, Kind, Table
from headgate.bulk.mysql.values import KINDS

_COLUMNS: Final = """SELECT column_name, data_type, column_type, is_nullable, column_default, extra
FROM information_schema.columns WHERE table_schema = COALESCE(%s, DATABASE()) AND table_name = %s
ORDER BY ordinal_position"""
_KEYS: Final = """SELECT index_name, column_name, sub_part FROM information_schema.statistics
WHERE table_schema = COALESCE(%s, DATABASE()) AND table_name = %s AND non_unique = 0
ORDER BY index_name = 'PRIMARY' DESC, index_name, seq_in_index"""
# MariaDB's JSON is a LONGTEXT with this check
_CHECKS: Final = """SELECT check_clause FROM information_schema.check_constraints
WHERE constraint_schema = COALESCE(%s, DATABASE()) AND table_name = %s"""
_JSON: Final = re.compile(r"json_valid\(`?([^`)]+)`?\)", re.IGNORECASE)
_LABEL: Final = re.compile(r"'((?:[^']|'')*)'")


def describe(cursor: Any, schema: str | None, name: str, mariadb: bool) -> Table:
    """Read a table's shape.

    Raises:
        WrongTarget: no such table in the schema (or, without one, in the connection's database).
    """
    cursor.execute(_COLUMNS, (schema, name))
    rows = cursor.fetchall()
    if not rows:
        raise WrongTarget(f"there is no table {name} in {schema or 'this database'}; check its name and schema")
    json = _json_columns(cursor, schema, name) if mariadb else frozenset()
    columns = {row[0]: _column(row, json) for row in rows}
    cursor.execute(_KEYS, (schema, name))
    keys: dict[str, list[str]] = {}
    partial: set[str] = set()
    for index, column, part in cursor.fetchall():
        keys.setdefault(index, []).append(column)
        if part is not None or column is None:
            partial.add(index)
    return Table(
        schema=schema,
        name=name,
        columns=columns,
        primary_key=tuple(keys.get("PRIMARY", ())),
        unique=tuple(tuple(names) for index, names in keys.items() if index != "PRIMARY" and index not in partial),
    )


def _json_columns(cursor: Any, schema: str | None, name: str) -> frozenset[str]:
    cursor.execute(_CHECKS, (schema, name))
    return frozenset(found.group(1) for (clause,) in cursor.fetchall() if (found := _JSON.search(clause)))


def _column(row: tuple[Any, ...], json: frozenset[str]) -> Column:
    name, kind, spelling, nullable, default, extra = row
    extra = (extra or "").lower()
    found = KINDS.get(kind.lower(), Kind.OTHER)
    if name in json:
        found = Kind.JSON
    elif spelling.lower() == "tinyint(1)":
        found = Kind.BOOLEAN
    return Column(
        name=name,
        kind=found,
        type=spelling,
        nullable=nullable == "YES",
        optional=default is not None or "auto_increment" in extra or "default_generated" in extra,
        generated="generated" in extra and "default_generated" not in extra,
        labels=tuple(label.replace("''", "'") for label in _LABEL.findall(spelling)) if found is Kind.ENUM else (),
    )
