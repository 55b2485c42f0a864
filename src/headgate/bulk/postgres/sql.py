"""The statements of a bulk write on PostgreSQL, made from a `Plan` alone."""

from __future__ import annotations

from typing import Final

from headgate.bulk.model import Conflict, Operation, Plan, Table
from headgate.bulk.phrases import fill

STAGE: Final = "headgate_stage"
CHECKPOINTS: Final = "headgate_bulk"

CREATE_CHECKPOINTS: Final = f"""CREATE TABLE IF NOT EXISTS {CHECKPOINTS} (
    name text PRIMARY KEY, epoch bigint NOT NULL, fence bigint NOT NULL, pos bigint NOT NULL, mark text NOT NULL,
    written bigint NOT NULL, rejected bigint NOT NULL, done boolean NOT NULL, updated_at timestamptz NOT NULL)"""

# The row is taken over by whoever comes last, except from a newer try of the same job (`fence`).
CLAIM: Final = f"""INSERT INTO {CHECKPOINTS} AS c (name, epoch, fence, pos, mark, written, rejected, done, updated_at)
VALUES (%s, 1, %s, 0, '', 0, 0, false, now())
ON CONFLICT (name) DO UPDATE SET epoch = c.epoch + 1, fence = excluded.fence, updated_at = now()
WHERE c.fence <= excluded.fence RETURNING epoch, pos, mark, written, rejected, done"""

READ: Final = f"SELECT epoch, pos, mark, written, rejected, done FROM {CHECKPOINTS} WHERE name = %s"

# No row (another epoch, another position) must fail the transaction although what follows is already sent:
# hence the cast of a text that is no number, by which the failure is recognised.
FENCED: Final = "headgate-fence"
FENCE: Final = f"""WITH f AS (UPDATE {CHECKPOINTS} SET pos = %s, mark = %s, rejected = rejected + %s, updated_at = now()
WHERE name = %s AND epoch = %s AND pos = %s RETURNING 1)
SELECT CASE WHEN count(*) = 1 THEN 1 ELSE ('{FENCED}' || count(*))::int END FROM f"""

FINISH: Final = f"UPDATE {CHECKPOINTS} SET done = true, updated_at = now() WHERE name = %s AND epoch = %s"
FORGET: Final = f"DELETE FROM {CHECKPOINTS} WHERE name = %s AND epoch = %s"
SWEEP: Final = (
    f"DELETE FROM {CHECKPOINTS} WHERE (done OR name LIKE 'call/%%') AND updated_at < now() - make_interval(secs => %s)"
)

# Local to the transaction, so that nothing outlives it in a connection that a proxy shares (PgBouncer).
# Without hash joins the merge visits the rows in the key's order, which is what keeps two writers from a deadlock.
SETTINGS: Final = """SELECT set_config('lock_timeout', %s, true), set_config('statement_timeout', %s, true),
set_config('synchronous_commit', 'off', true), set_config('enable_hashjoin', 'off', true),
set_config('timezone', %s, true)"""


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def table_name(table: Table) -> str:
    return f"{quoted(table.schema)}.{quoted(table.name)}" if table.schema else quoted(table.name)


def _list(names: tuple[str, ...], prefix: str = "") -> str:
    return ", ".join(prefix + quoted(name) for name in names)


def create_stage(plan: Plan) -> str:
    """The stage has the table's own types and collations, and goes with its transaction."""
    return (
        f"CREATE TEMPORARY TABLE {STAGE} ON COMMIT DROP AS "
        f"SELECT {_list(plan.columns)} FROM {table_name(plan.table)} WITH NO DATA"
    )


def copy(plan: Plan) -> str:
    return f"COPY {STAGE} ({_list(plan.columns)}) FROM STDIN"


def passes(plan: Plan) -> str:
    """How often the most frequent key of the stage occurs."""
    return f"SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM {STAGE} GROUP BY {_list(plan.key)}) k"


def merge(plan: Plan, occurrence: int | None = None) -> str:
    """The statement that applies the stage and adds what it did to the checkpoint.

    Args:
        plan: what to do.
        occurrence: apply only the n-th row of each key (expressions must see every one); None: the last wins.
    """
    body = _BODIES[plan.operation](plan, _staged(plan, occurrence))
    returning = _list(plan.returning, "t.") if plan.returning else "1"
    count = f"c AS (UPDATE {CHECKPOINTS} SET written = written + (SELECT count(*) FROM m) WHERE name = %s RETURNING 1)"
    answer = "SELECT * FROM m" if plan.returning else "SELECT count(*) FROM m"
    return f"WITH m AS ({body} RETURNING {returning}), {count} {answer}"


def _staged(plan: Plan, occurrence: int | None) -> str:
    """The staged rows in the key's order, one per key unless every row counts."""
    columns, key = _list(plan.columns), _list(plan.key)
    if plan.operation is Operation.INSERT:
        order = key or "ctid"
        return f"(SELECT {columns} FROM {STAGE} ORDER BY {order}, ctid) s"
    if occurrence is None:
        return f"(SELECT DISTINCT ON ({key}) {columns} FROM {STAGE} ORDER BY {key}, ctid DESC) s"
    ranked = f"SELECT {columns}, row_number() OVER (PARTITION BY {key} ORDER BY ctid) AS headgate_n FROM {STAGE}"
    return f"(SELECT {columns} FROM ({ranked}) r WHERE headgate_n = {occurrence} ORDER BY {key}) s"


def _insert(plan: Plan, staged: str) -> str:
    columns = _list(plan.columns)
    override = ""
    if any(plan.table.columns[name].always for name in plan.columns):
        override = " OVERRIDING SYSTEM VALUE"
    text = f"INSERT INTO {table_name(plan.table)} AS t ({columns}){override} SELECT {columns} FROM {staged}"
    if plan.conflict is Conflict.SKIP:
        text += " ON CONFLICT DO NOTHING" if plan.any_conflict else f" ON CONFLICT ({_list(plan.key)}) DO NOTHING"
    return text


def _upsert(plan: Plan, staged: str) -> str:
    changes = _changes(plan, "t", "excluded")
    action = f"DO UPDATE SET {changes}" if changes else "DO NOTHING"
    return f"{_insert(plan, staged)} ON CONFLICT ({_list(plan.key)}) {action}"


def _update(plan: Plan, staged: str) -> str:
    return f"UPDATE {table_name(plan.table)} AS t SET {_changes(plan, 't', 's')} FROM {staged} WHERE {_match(plan)}"


def _delete(plan: Plan, staged: str) -> str:
    return f"DELETE FROM {table_name(plan.table)} AS t USING {staged} WHERE {_match(plan)}"


def _match(plan: Plan) -> str:
    return " AND ".join(f"t.{quoted(name)} = s.{quoted(name)}" for name in plan.key)


def _changes(plan: Plan, old: str, new: str) -> str:
    parts = []
    for name in plan.changed:
        expression = plan.expressions.get(name)
        value = fill(expression, name, old, new, quoted) if expression else f"{new}.{quoted(name)}"
        parts.append(f"{quoted(name)} = {value}")
    return ", ".join(parts)


_BODIES: Final = {
    Operation.INSERT: _insert,
    Operation.UPSERT: _upsert,
    Operation.UPDATE: _update,
    Operation.DELETE: _delete,
}
