"""The calls that user code makes: insert, upsert, update, delete."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping, MutableSequence, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from headgate.bulk import target as targets
from headgate.bulk.chunks import Chunks
from headgate.bulk.engine import Database
from headgate.bulk.errors import WrongTarget
from headgate.bulk.failures import TryAgain
from headgate.bulk.model import Conflict, Operation, Plan, Politeness, Reject, Result
from headgate.bulk.names import identity_for
from headgate.bulk.patience import Patience
from headgate.bulk.plan import as_names, as_zone, make_plan
from headgate.bulk.progress import watcher_for
from headgate.bulk.rejects import Raising, as_rejects
from headgate.bulk.returned import Receive, Returned
from headgate.bulk.rows import Source, open_source
from headgate.bulk.writer import Writer

Names = str | Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every bulk write can be told; the keyword arguments of `insert`, `upsert`, `update` and `delete`.

    Args:
        on: the database: a SQLAlchemy engine, a URL, a Flask-SQLAlchemy `db` (needless with one of its models).
        key: the columns that find a row; default: the primary key.
        columns: the columns to take from the rows; default: all that the first row gives.
        set: column → SQL instead of the row's value, with `{old}` and `{new}`; it sees every row of a key.
        returning: columns of the written rows, in the key's order, given to `returned` after each commit.
        returned: gets lists of tuples, for example `ids.extend`.
        rejects: a list or the path of a file for refused rows; None: the first one raises `BadRow`.
        max_rejects: more than so many end the write.
        name: the checkpoint's name; a call with the same name and rows goes on where the last one ended. In a
            job it comes by itself.
        zone: the zone of naive datetimes, for example "Europe/Vienna".
        politeness: see `Politeness`.
        tries: how often one chunk is tried when locks or connections fail it.
        progress: True shows a bar at the terminal; None does so if it is one; False tells nobody, a job included.
    """

    on: Any = None
    key: Names | None = None
    columns: Names | None = None
    update: Names | None = None
    set: Mapping[str, str] | None = None
    conflict: Conflict = Conflict.ERROR
    returning: Names | None = None
    returned: Receive | None = None
    rejects: MutableSequence[Reject] | str | os.PathLike[str] | None = None
    max_rejects: int = 1_000
    name: str | None = None
    zone: str | dt.tzinfo | None = None
    politeness: Politeness = field(default_factory=Politeness)
    tries: int = 10
    progress: bool | None = None


def insert(target: Any, rows: Any, *, conflict: Literal["error", "skip", "update"] = "error", **options: Any) -> Result:
    """Insert rows, in chunks that commit with their checkpoint.

    Args:
        target: a SQLAlchemy table, a mapped class, or a table's name.
        rows: an iterable or async iterable of dicts, tuples (with `columns=`), dataclasses, msgspec structs or
            mapped instances; the path of a CSV or JSON-lines file; an Arrow table or reader; a pandas or polars frame.
        conflict: what to do with a row whose key is there: refuse it, skip it, or update it (`upsert`).
        options: see `Options`.

    Raises:
        WrongTarget: before anything is written. BadRow, SourceChanged, Stuck, LeaseLost: see `headgate.bulk.errors`.
    """
    return _write(Operation.INSERT, target, rows, Options(**options, conflict=Conflict(conflict)))


def upsert(target: Any, rows: Any, **options: Any) -> Result:
    """Insert rows, or update those whose key is there; the last row of a key wins.

    Args:
        target, rows, options: as for `insert`; `update=` names the columns to change (default: all but the key).
    """
    return _write(Operation.UPSERT, target, rows, Options(**options, conflict=Conflict.UPDATE))


def update(target: Any, rows: Any, **options: Any) -> Result:
    """Update the rows that have the given keys; a key that is not there changes nothing and is counted as skipped.

    Args:
        target, rows, options: as for `upsert`.
    """
    return _write(Operation.UPDATE, target, rows, Options(**options))


def delete(target: Any, rows: Any, **options: Any) -> Result:
    """Delete the rows that have the given keys.

    Args:
        target, rows, options: as for `insert`; only the key of each row is read.
    """
    return _write(Operation.DELETE, target, rows, Options(**options))


def _write(operation: Operation, target: Any, rows: Any, options: Options) -> Result:
    found = targets.resolve(target, options.on)
    database = targets.database_for(found.engine)
    try:
        source = open_source(rows)
        try:
            return _prepared(operation, found, database, source, options)
        finally:
            source.close()
    finally:
        database.close()


def _prepared(
    operation: Operation, target: targets.Target, database: Database, source: Source, options: Options
) -> Result:
    patience = Patience(options.tries)
    given = as_names(options.columns) or source.names
    plan = _plan(operation, target, database, given, source, options, patience)
    returned = Returned(options.returned, plan.returning)
    rejects = as_rejects(options.rejects, options.max_rejects)
    database.prepare(plan, options.politeness)
    taken = _attributes(plan, target, given)
    # A plan that takes fewer columns than the rows give must not refuse rows for giving them.
    exact = options.columns is None and len(plan.columns) == len(source.names)
    chunks = Chunks(
        source, taken, exact, database.encoder(), options.politeness.chunk_bytes, isinstance(rejects, Raising)
    )
    watcher = watcher_for(options.progress, f"{operation} {plan.table.label}")
    writer = Writer(
        database,
        plan,
        chunks,
        identity_for(options.name),
        options.politeness,
        rejects,
        watcher,
        returned,
        patience,
        source.total,
    )
    try:
        return writer.run()
    finally:
        watcher.close()


def _plan(
    operation: Operation,
    target: targets.Target,
    database: Database,
    given: tuple[str, ...],
    source: Source,
    options: Options,
    patience: Patience,
) -> Plan:
    while True:
        try:
            table = database.describe(target.schema, target.name)
            break
        except TryAgain as problem:
            patience.failed(problem)
    columns = tuple(target.rename.get(name, name) for name in given)
    key = tuple(target.rename.get(name, name) for name in as_names(options.key))
    if not columns:
        columns = _columns_of_nothing(source, table.columns, key)
    plan = make_plan(
        operation,
        table,
        columns,
        key=key,
        update=tuple(target.rename.get(name, name) for name in as_names(options.update)),
        expressions=options.set or {},
        conflict=options.conflict,
        returning=as_names(options.returning),
        zone=as_zone(options.zone),
        textual=source.textual,
        before=target.before,
    )
    if source.names or plan.columns == columns:
        return plan
    return replace(plan, columns=columns)


def _columns_of_nothing(source: Source, known: Mapping[str, object], key: tuple[str, ...]) -> tuple[str, ...]:
    """Bare tuples say nothing of their columns, and an empty source needs none in particular."""
    if not _is_empty(source):
        raise WrongTarget("the rows are tuples without names; say with columns= which columns their values are for")
    return tuple(known)


def _is_empty(source: Source) -> bool:
    return source.total == 0 or next(source.rows(), None) is None


def _attributes(plan: Plan, target: targets.Target, given: tuple[str, ...]) -> tuple[str, ...]:
    """What the rows call the plan's columns."""
    back = {target.rename.get(name, name): name for name in given}
    return tuple(back.get(name, name) for name in plan.columns)
