"""The statements of a bulk write on SQLite, made from a `Plan` alone."""

from __future__ import annotations

from typing import Final

from headgate.bulk.model import Conflict, Operation, Plan, Table
from headgate.bulk.phrases import fill, render

CHECKPOINTS: Final = "headgate_bulk"
CREATE_CHECKPOINTS: Final = f"""CREATE TABLE IF NOT EXISTS {CHECKPOINTS} (
    name TEXT PRIMARY KEY, epoch INTEGER NOT NULL, fence INTEGER NOT NULL, pos INTEGER NOT NULL, mark TEXT NOT NULL,
    written INTEGER NOT NULL, rejected INTEGER NOT NULL, done BOOLEAN NOT NULL, updated_at REAL NOT NULL)"""
CLAIM: Final = f"""INSERT INTO {CHECKPOINTS} AS c (name, epoch, fence, pos, mark, written, rejected, done, updated_at)
VALUES (?, 1, ?, 0, '', 0, 0, 0, unixepoch())
ON CONFLICT (name) DO UPDATE SET epoch = c.epoch + 1, fence = excluded.fence, updated_at = unixepoch()
WHERE c.fence <= excluded.fence RETURNING epoch, pos, mark, written, rejected, done"""
READ: Final = f"SELECT epoch, pos, mark, written, rejected, done FROM {CHECKPOINTS} WHERE name = ?"
FENCE: Final = f"""UPDATE {CHECKPOINTS} SET pos = ?, mark = ?, rejected = rejected + ?, updated_at = unixepoch()
WHERE name = ? AND epoch = ? AND pos = ?"""
COUNT: Final = f"UPDATE {CHECKPOINTS} SET written = written + ? WHERE name = ?"
FINISH: Final = f"UPDATE {CHECKPOINTS} SET done = 1, updated_at = unixepoch() WHERE name = ? AND epoch = ?"
FORGET: Final = f"DELETE FROM {CHECKPOINTS} WHERE name = ? AND epoch = ?"
SWEEP: Final = f"DELETE FROM {CHECKPOINTS} WHERE (done OR name LIKE 'call/%') AND updated_at < unixepoch() - ?"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def table_name(table: Table) -> str:
    return f"{quoted(table.schema)}.{quoted(table.name)}" if table.schema else quoted(table.name)


def statement(plan: Plan) -> str:
    """The statement that applies one row; its parameters are numbered as the plan's columns."""
    body = _BODIES[plan.operation](plan)
    if plan.returning:
        body += " RETURNING " + ", ".join(quoted(name) for name in plan.returning)
    # SQLite's driver takes a percent sign as it is
    return body.replace("%%", "%")


def _place(plan: Plan, name: str) -> str:
    return f"?{plan.columns.index(name) + 1}"


def _match(plan: Plan) -> str:
    return " AND ".join(f"{quoted(name)} = {_place(plan, name)}" for name in plan.key)


def _insert(plan: Plan) -> str:
    columns = ", ".join(quoted(name) for name in plan.columns)
    places = ", ".join(_place(plan, name) for name in plan.columns)
    text = f"INSERT INTO {table_name(plan.table)} AS t ({columns}) VALUES ({places})"
    if plan.conflict is Conflict.SKIP:
        keys = ", ".join(quoted(name) for name in plan.key)
        text += " ON CONFLICT DO NOTHING" if plan.any_conflict else f" ON CONFLICT ({keys}) DO NOTHING"
    return text


def _upsert(plan: Plan) -> str:
    changes = []
    for name in plan.changed:
        expression = plan.expressions.get(name)
        value = fill(expression, name, "t", "excluded", quoted) if expression else f"excluded.{quoted(name)}"
        changes.append(f"{quoted(name)} = {value}")
    action = f"DO UPDATE SET {', '.join(changes)}" if changes else "DO NOTHING"
    return f"{_insert(plan)} ON CONFLICT ({', '.join(quoted(name) for name in plan.key)}) {action}"


def _update(plan: Plan) -> str:
    changes = []
    for name in plan.changed:
        expression = plan.expressions.get(name)
        value = render(expression, name, quoted, lambda c: _place(plan, c)) if expression else _place(plan, name)
        changes.append(f"{quoted(name)} = {value}")
    return f"UPDATE {table_name(plan.table)} SET {', '.join(changes)} WHERE {_match(plan)}"


def _delete(plan: Plan) -> str:
    return f"DELETE FROM {table_name(plan.table)} WHERE {_match(plan)}"


_BODIES: Final = {
    Operation.INSERT: _insert,
    Operation.UPSERT: _upsert,
    Operation.UPDATE: _update,
    Operation.DELETE: _delete,
}
