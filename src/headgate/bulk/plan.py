"""From what a caller asks for to a `Plan`, with every mistake told before the first row is read."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Mapping, Sequence

from headgate.bulk.errors import WrongTarget
from headgate.bulk.model import Conflict, Encoder, Operation, Plan, Table


def as_names(names: str | Sequence[str] | None) -> tuple[str, ...]:
    """One name or several."""
    if names is None:
        return ()
    return (names,) if isinstance(names, str) else tuple(names)


def as_zone(zone: str | dt.tzinfo | None) -> dt.tzinfo | None:
    """A zone by its name.

    Raises:
        WrongTarget: there is none of that name.
    """
    if not isinstance(zone, str):
        return zone
    try:
        return zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        raise WrongTarget(f"zone={zone!r} is no time zone; give a name such as 'Europe/Vienna', or 'UTC'") from None


def make_plan(
    operation: Operation,
    table: Table,
    columns: tuple[str, ...],
    *,
    key: tuple[str, ...],
    update: tuple[str, ...],
    expressions: Mapping[str, str],
    conflict: Conflict,
    returning: tuple[str, ...],
    zone: dt.tzinfo | None,
    textual: bool,
    before: Mapping[str, Encoder],
) -> Plan:
    """Check names against the real table, and find the key and the columns to change.

    Raises:
        WrongTarget
    """
    if operation is Operation.INSERT and conflict is Conflict.UPDATE:
        operation = Operation.UPSERT
    key = _key(operation, table, columns, key, conflict)
    if operation is Operation.DELETE:
        columns = key
    _check(table, operation, (*columns, *key, *update, *returning, *expressions))
    changed = _changed(operation, columns, key, update, expressions)
    if operation is Operation.UPDATE:
        columns = _needed(columns, key, changed, expressions)
    missing = [name for name in (*key, *(n for n in changed if n not in expressions)) if name not in columns]
    if missing:
        raise WrongTarget(f"the rows do not give {', '.join(missing)}, which the {operation} needs")
    if operation in (Operation.INSERT, Operation.UPSERT):
        _check_required(table, columns)
    return Plan(
        operation=operation,
        table=table,
        columns=columns,
        key=key,
        changed=changed,
        expressions={name: expressions[name] for name in changed if name in expressions},
        conflict=conflict,
        any_conflict=operation is Operation.INSERT and not key,
        returning=returning,
        zone=zone,
        textual=textual,
        before={name: before[name] for name in columns if name in before},
    )


def _key(
    operation: Operation, table: Table, columns: tuple[str, ...], key: tuple[str, ...], conflict: Conflict
) -> tuple[str, ...]:
    if key:
        if operation is Operation.UPSERT and not _is_unique(table, key):
            raise WrongTarget(
                f"key=({', '.join(key)}) has no unique index on {table.label}, so the database cannot tell what "
                f"conflicts; unique are: {_keys(table)}"
            )
        return key
    primary = table.primary_key
    if operation is Operation.INSERT:
        # The order of a primary key that the rows give spares the index random pages; conflicts need no key here.
        return primary if primary and conflict is Conflict.ERROR and set(primary) <= set(columns) else ()
    if not primary or not set(primary) <= set(columns):
        raise WrongTarget(
            f"which rows of {table.label}? The rows given lack the primary key ({', '.join(primary) or 'there is none'}"
            f"); give key= the columns that find a row. Unique are: {_keys(table)}"
        )
    return primary


def _is_unique(table: Table, key: tuple[str, ...]) -> bool:
    return any(set(names) == set(key) for names in (table.primary_key, *table.unique))


def _keys(table: Table) -> str:
    known = [f"({', '.join(names)})" for names in (table.primary_key, *table.unique) if names]
    return ", ".join(known) or "none"


def _check(table: Table, operation: Operation, names: tuple[str, ...]) -> None:
    unknown = [name for name in dict.fromkeys(names) if name not in table.columns]
    if unknown:
        raise WrongTarget(
            f"{table.label} has no column {', '.join(unknown)}; it has {', '.join(table.columns)}. "
            "Name the columns to write with columns= if the rows carry more"
        )


def _changed(
    operation: Operation,
    columns: tuple[str, ...],
    key: tuple[str, ...],
    update: tuple[str, ...],
    expressions: Mapping[str, str],
) -> tuple[str, ...]:
    if operation not in (Operation.UPDATE, Operation.UPSERT):
        return ()
    chosen = update or tuple(name for name in columns if name not in key)
    changed = tuple(dict.fromkeys((*chosen, *expressions)))
    if operation is Operation.UPDATE and not changed:
        raise WrongTarget("the rows give nothing but the key, so there is nothing to set; use set= or more columns")
    return changed


def _needed(
    columns: tuple[str, ...], key: tuple[str, ...], changed: tuple[str, ...], expressions: Mapping[str, str]
) -> tuple[str, ...]:
    """An update stages the key, what it sets, and (with expressions, which may name anything) all that is given."""
    if expressions:
        return columns
    return tuple(name for name in columns if name in key or name in changed)


def _check_required(table: Table, columns: tuple[str, ...]) -> None:
    generated = [name for name in columns if table.columns[name].generated]
    if generated:
        raise WrongTarget(f"{', '.join(generated)} of {table.label} is computed by the database and cannot be written")
    missing = [
        column.name
        for column in table.columns.values()
        if not (column.nullable or column.optional or column.generated or column.name in columns)
    ]
    if missing:
        raise WrongTarget(f"{', '.join(missing)} of {table.label} is NOT NULL without a default; the rows must give it")
