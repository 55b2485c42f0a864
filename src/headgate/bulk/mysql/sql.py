"""The statements of a bulk write on MySQL and MariaDB, made from a `Plan` alone."""

from __future__ import annotations

from typing import Final

from headgate.bulk.model import Conflict, Kind, Operation, Plan, Table
from headgate.bulk.phrases import render

STAGE: Final = "headgate_stage"
CHECKPOINTS: Final = "headgate_bulk"
# The name's collation is binary: two names that differ in case are two checkpoints.
CREATE_CHECKPOINTS: Final = f"""CREATE TABLE IF NOT EXISTS {CHECKPOINTS} (
    name VARCHAR(191) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PRIMARY KEY, epoch BIGINT NOT NULL,
    fence BIGINT NOT NULL, pos BIGINT NOT NULL, mark TEXT NOT NULL, written BIGINT NOT NULL,
    rejected BIGINT NOT NULL, done BOOLEAN NOT NULL, updated_at DATETIME NOT NULL) ENGINE=InnoDB"""
CLAIM: Final = f"""INSERT INTO {CHECKPOINTS} (name, epoch, fence, pos, mark, written, rejected, done, updated_at)
VALUES (%s, 1, %s, 0, '', 0, 0, 0, UTC_TIMESTAMP())
ON DUPLICATE KEY UPDATE epoch = IF(fence <= VALUES(fence), epoch + 1, epoch), updated_at = UTC_TIMESTAMP(),
fence = GREATEST(fence, VALUES(fence))"""
READ: Final = f"SELECT epoch, pos, mark, written, rejected, done, fence FROM {CHECKPOINTS} WHERE name = %s"
FENCE: Final = f"""UPDATE {CHECKPOINTS} SET pos = %s, mark = %s, rejected = rejected + %s, updated_at = UTC_TIMESTAMP()
WHERE name = %s AND epoch = %s AND pos = %s"""
COUNT: Final = f"UPDATE {CHECKPOINTS} SET written = written + %s WHERE name = %s"
FINISH: Final = f"UPDATE {CHECKPOINTS} SET done = 1, updated_at = UTC_TIMESTAMP() WHERE name = %s AND epoch = %s"
FORGET: Final = f"DELETE FROM {CHECKPOINTS} WHERE name = %s AND epoch = %s"
SWEEP: Final = f"""DELETE FROM {CHECKPOINTS} WHERE (done OR name LIKE 'call/%%')
AND updated_at < UTC_TIMESTAMP() - INTERVAL %s SECOND"""


def quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def table_name(table: Table) -> str:
    return f"{quoted(table.schema)}.{quoted(table.name)}" if table.schema else quoted(table.name)


def _list(names: tuple[str, ...], prefix: str = "") -> str:
    return ", ".join(prefix + quoted(name) for name in names)


def create_stage(plan: Plan) -> str:
    """The table's own types and collations, without its keys, and the number of the row within the chunk."""
    return (
        f"CREATE TEMPORARY TABLE {STAGE} (headgate_no INT NOT NULL AUTO_INCREMENT PRIMARY KEY) ENGINE=InnoDB AS "
        f"SELECT {_list(plan.columns)} FROM {table_name(plan.table)} LIMIT 0"
    )


def load(plan: Plan) -> str:
    """LOAD DATA with the file's name as parameter; bytes come as hex digits."""
    fields, sets = [], []
    for number, name in enumerate(plan.columns):
        if plan.table.columns[name].kind is Kind.BYTES:
            fields.append(f"@b{number}")
            sets.append(f"{quoted(name)} = UNHEX(@b{number})")
        else:
            fields.append(quoted(name))
    text = (
        f"LOAD DATA LOCAL INFILE %s INTO TABLE {STAGE} CHARACTER SET utf8mb4 "
        rf"FIELDS TERMINATED BY '\t' ESCAPED BY '\\' LINES TERMINATED BY '\n' ({', '.join(fields)})"
    )
    return f"{text} SET {', '.join(sets)}" if sets else text


def insert_stage(plan: Plan) -> str:
    """A multi-row INSERT into the stage, where LOAD DATA LOCAL is not allowed."""
    return f"INSERT INTO {STAGE} ({_list(plan.columns)}) VALUES ({', '.join(['%s'] * len(plan.columns))})"


def distinct(plan: Plan) -> str:
    """How many rows the stage stands for, and how often its most frequent key occurs."""
    counts = f"SELECT COUNT(*) AS n FROM {STAGE} GROUP BY {_list(plan.key)}"
    return f"SELECT COUNT(*), COALESCE(MAX(n), 0) FROM ({counts}) k"


def merge(plan: Plan, occurrence: int | None = None) -> str:
    """The statement that applies the stage; `occurrence` as in `postgres.sql.merge`."""
    return _BODIES[plan.operation](plan, occurrence)


def _staged(plan: Plan, occurrence: int | None) -> str:
    if occurrence is None:
        order, wanted = "headgate_no DESC", 1
    else:
        order, wanted = "headgate_no", occurrence
    ranked = (
        f"SELECT {_list(plan.columns)}, ROW_NUMBER() OVER (PARTITION BY {_list(plan.key)} ORDER BY {order}) "
        f"AS headgate_n FROM {STAGE}"
    )
    return f"(SELECT {_list(plan.columns)} FROM ({ranked}) r WHERE headgate_n = {wanted}) s"


def _insert(plan: Plan, occurrence: int | None) -> str:
    order = f"{_list(plan.key)}, headgate_no" if plan.key else "headgate_no"
    source = f"{STAGE} ORDER BY {order}"
    text = f"INSERT INTO {table_name(plan.table)} ({_list(plan.columns)}) SELECT {_list(plan.columns)} FROM {source}"
    if plan.conflict is Conflict.SKIP:
        # INSERT IGNORE would swallow every other error too
        first = f"{table_name(plan.table)}.{quoted(next(iter(plan.table.columns)))}"
        text += f" ON DUPLICATE KEY UPDATE {first} = {first}"
    return text + _returning(plan)


def _upsert(plan: Plan, occurrence: int | None) -> str:
    columns = _list(plan.columns)
    if plan.expressions:
        # Rows are applied one after the other, so an expression sees every row of a key in its order.
        source = f"{STAGE} ORDER BY {_list(plan.key)}, headgate_no"
    else:
        source = f"{_staged(plan, None)} ORDER BY {_list(plan.key)}"
    changes = [f"{quoted(name)} = {_upserted(plan, name)}" for name in plan.changed or plan.key[:1]]
    text = f"INSERT INTO {table_name(plan.table)} ({columns}) SELECT {columns} FROM {source}"
    return f"{text} ON DUPLICATE KEY UPDATE {', '.join(changes)}{_returning(plan)}"


def _upserted(plan: Plan, name: str) -> str:
    expression = plan.expressions.get(name)
    if not expression:
        return f"VALUES({quoted(name)})"
    table = table_name(plan.table)
    return render(expression, name, lambda c: f"{table}.{quoted(c)}", lambda c: f"VALUES({quoted(c)})")


def _update(plan: Plan, occurrence: int | None) -> str:
    changes = []
    for name in plan.changed:
        expression = plan.expressions.get(name)
        value = f"s.{quoted(name)}"
        if expression:
            value = render(expression, name, lambda c: f"t.{quoted(c)}", lambda c: f"s.{quoted(c)}")
        changes.append(f"t.{quoted(name)} = {value}")
    # STRAIGHT_JOIN: the staged rows lead, in the key's order, whatever the optimizer thinks of the table
    joined = f"{_staged(plan, occurrence)} STRAIGHT_JOIN {table_name(plan.table)} t ON {_match(plan)}"
    return f"UPDATE {joined} SET {', '.join(changes)}"


def _delete(plan: Plan, occurrence: int | None) -> str:
    return f"DELETE t FROM {_staged(plan, None)} STRAIGHT_JOIN {table_name(plan.table)} t ON {_match(plan)}"


def _match(plan: Plan) -> str:
    return " AND ".join(f"t.{quoted(name)} = s.{quoted(name)}" for name in plan.key)


def _returning(plan: Plan) -> str:
    return f" RETURNING {_list(plan.returning)}" if plan.returning else ""


_BODIES: Final = {
    Operation.INSERT: _insert,
    Operation.UPSERT: _upsert,
    Operation.UPDATE: _update,
    Operation.DELETE: _delete,
}
