"""Values of every type land as they are, by the real columns; what does not fit is refused with its row and column."""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from headgate import bulk
from tests.bulk.conftest import Store

VIENNA = "Europe/Vienna"
NOON = dt.datetime(2026, 7, 1, 12, 0, 0, 123456)
UTC_NOON = NOON.replace(tzinfo=dt.UTC)
KEY = uuid.UUID("0123456789ab4def8123456789abcdef")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


POSTGRES: list[tuple[str, list[Any], list[Any]]] = [
    ("smallint", [0, -32768, 5.0, Decimal(7)], [32768, 1.5, "x", True, math.nan, [1]]),
    ("integer", [2**31 - 1, "12"], [2**31, "1.5", b"1"]),
    ("bigint", [-(2**63)], [2**63]),
    ("real", [1.5, "2.5"], ["x", True]),
    ("double precision", [1e308, math.inf, -math.inf, 3], ["1e999", {}]),
    ("numeric(8,2)", [Decimal("1.25"), 3, 1.5, "9.99"], [Decimal("1e9"), Decimal("sNaN"), "x", True]),
    ("numeric", [Decimal("1e-30"), Decimal("Infinity")], ["1,5"]),
    ("boolean", [True, False, 1, "no"], [2, "maybe", 1.0]),
    ("text", ["a", "", "\\N", "tab\tnl\n"], ["nul\0", "\ud800", b"bytes", {"a": 1}, True]),
    ("varchar(3)", ["abc"], ["abcd"]),
    ("bytea", [b"\x00\xff\\", bytearray(b"x"), memoryview(b"y")], [5, "\\xzz"]),
    ("date", [dt.date(2026, 1, 2), "2026-01-02"], ["2026-02-30", NOON, 5]),
    ("time", [dt.time(1, 2, 3, 4)], ["25:00", 5]),
    ("timestamp", [NOON, "2026-01-01 10:00"], [UTC_NOON, "soon", 5]),
    ("timestamptz", [UTC_NOON, "2026-01-01 10:00+02", "2026-01-01T10:00Z"], [NOON, "2026-01-01 10:00", "x+02", 5]),
    ("interval", [dt.timedelta(days=-1, seconds=5), "1 day"], ["x", 5]),
    ("jsonb", [{"a": [1, None, "ü"]}, [], "text", 5, True], [{"a": math.nan}, {"a": "\0"}, {1: object()}]),
    ("json", [{"b": 1}], [{"a": math.inf}]),
    ("uuid", [KEY, str(KEY)], ["x", 5]),
    ("int[]", [[1, None, 2], [], [[1], [2]]], [["x"], 5, [True]]),
    ("text[]", [['q"', "c,omma", "back\\", "NULL", "", None, "{}"]], [[b"x\0", object()]]),
    ("timestamptz[]", [[UTC_NOON]], [[NOON]]),
    ("colour", ["red", Colour.RED], ["green"]),
    ("positive", [1], [-1]),
    ("inet", ["10.0.0.1"], ["10.0.0.999"]),
    ("int4range", ["[1,5)"], ["[5,1)"]),
]
MARIADB: list[tuple[str, list[Any], list[Any]]] = [
    ("smallint", [0, -32768, 5.0], [32768, 1.5, "x", True, math.nan, [1]]),
    ("int unsigned", [2**32 - 1, "12"], [-1, 2**32, "1.5"]),
    ("bigint", [-(2**63)], [2**63]),
    ("double", [1.5, 1e308, "2.5"], ["x", math.nan, math.inf, True]),
    ("decimal(8,2)", [Decimal("1.25"), 3, "9.99"], [Decimal("1e9"), Decimal("NaN"), "x", True]),
    ("boolean", [True, False, 1, "false"], ["maybe", 1.0]),
    ("varchar(3)", ["abc", "☃☃☃", "\\N", ""], ["abcd", "\ud800", b"x", {"a": 1}]),
    ("blob", [b"\x00\xff\\\n\t'", bytearray(b"x")], [5, "text"]),
    ("date", [dt.date(2026, 1, 2), "2026-01-02"], ["2026-02-30", NOON, 5]),
    ("time(6)", [dt.time(1, 2, 3, 4), dt.timedelta(hours=-30)], ["x", 5]),
    ("datetime(6)", [NOON, "2026-01-01 10:00"], [UTC_NOON, "soon", 5]),
    ("timestamp(6)", [UTC_NOON, "2026-01-01T10:00+02:00"], [NOON, "2026-01-01 10:00", 5]),
    ("json", [{"a": [1, None, "ü\n"]}, "text", True], [{"a": math.nan}, b"x"]),
    ("enum('RED','BLUE')", ["RED", Colour.BLUE], ["green", 5]),
]
SQLITE: list[tuple[str, list[Any], list[Any]]] = [
    ("INTEGER", [2**63 - 1, 5.0, "12"], [2**63, 1.5, "x", True, [1]]),
    ("REAL", [1.5, 3, math.inf, "2.5"], [math.nan, "x", True]),
    ("NUMERIC(8,2)", [Decimal("1.25"), 3], [Decimal("NaN"), math.inf, "x", True]),
    ("BOOLEAN", [True, 0, "true"], [2, "maybe"]),
    ("VARCHAR(3)", ["abc", ""], ["nul\0", b"x", {"a": 1}]),
    ("BLOB", [b"\x00\xff"], [5, "text"]),
    ("DATE", [dt.date(2026, 1, 2), "2026-01-02"], ["2026-02-30", NOON, 5]),
    ("TIME", [dt.time(1, 2, 3, 4)], ["x", 5]),
    ("DATETIME", [NOON, "2026-01-01 10:00"], [UTC_NOON, "soon", 5]),
    ("JSON", [{"a": [1, None]}, "text", True, 1], [{"a": math.nan}, b"x"]),
    ("CHAR(32)", [KEY], [b"x"]),
]
BY_KIND = {"postgresql": POSTGRES, "mariadb": MARIADB, "mariadb-rows": MARIADB, "sqlite": SQLITE}


def make(store: Store, kind: str) -> None:
    if store.postgres:
        store.run("CREATE TYPE colour AS ENUM ('red', 'blue')")
        store.run("CREATE DOMAIN positive AS int CHECK (VALUE > 0)")
    store.run(f"CREATE TABLE things (id int PRIMARY KEY, value {kind})")


@pytest.mark.parametrize(
    ("store", "kind", "good", "bad"),
    [
        pytest.param(store, kind, good, bad, id=f"{store}-{kind}")
        for store, types in BY_KIND.items()
        for kind, good, bad in types
    ],
    indirect=["store"],
)
def test_every_type_takes_the_good_and_refuses_the_bad(
    store: Store, kind: str, good: list[Any], bad: list[Any]
) -> None:
    make(store, kind)
    values = [*good, None, *bad, *good]
    rows = [{"id": number, "value": value} for number, value in enumerate(values)]
    rejects: list[bulk.Reject] = []
    result = bulk.insert("things", rows, on=store.engine, rejects=rejects)
    first = len(good) + 1
    assert [reject.row for reject in rejects] == list(range(first + 1, first + 1 + len(bad)))
    assert {reject.column for reject in rejects} <= {"value", None}
    assert all(reject.reason and reject.values["id"] == reject.row - 1 for reject in rejects)
    assert [row[0] for row in store.rows("things")] == [*range(first), *range(first + len(bad), len(values))]
    assert (result.written, result.rejected) == (len(values) - len(bad), len(bad))


def read_back(store: Store, table: sa.Table) -> list[Any]:
    with store.engine.connect() as connection:
        return [row[0] for row in connection.execute(sa.select(table.c.value).order_by(table.c.id))]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (sa.Numeric(12, 4), [Decimal("1.2500"), Decimal("-99999999.9999")]),
        (sa.Double(), [1.1, -2.5e-300, 1e300]),
        (sa.Boolean(), [True, False]),
        (sa.LargeBinary(), [bytes(range(256)), b""]),
        (sa.Date(), [dt.date(1, 1, 1), dt.date(2026, 12, 31)]),
        (sa.DateTime(), [dt.datetime(2026, 7, 1, 12), dt.datetime(1999, 12, 31, 23, 59, 59)]),
        (sa.Time(), [dt.time(23, 59, 59)]),
        (sa.JSON(), [{"a": [1, 2.5, None, "ü\t\n\\"]}, [], "text"]),
        (sa.Uuid(), [KEY]),
        (sa.Enum(Colour), [Colour.RED, Colour.BLUE]),
        (sa.Text(), ["x" * 60_000, "🦊\t\\\r\n"]),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, list) else "",
)
def test_sqlalchemy_reads_back_what_was_written(store: Store, kind: Any, values: list[Any]) -> None:
    table = store.make(
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False), sa.Column("value", kind), name="things"
    )
    bulk.insert(table, enumerate([*values, None]), on=store.engine, columns=["id", "value"])
    assert read_back(store, table) == [*values, None]


class Shouting(sa.TypeDecorator[str]):
    """A type of the model's own: stored in capitals."""

    impl = sa.String(20)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else value.upper()


def test_a_type_of_the_models_own_is_heard(store: Store) -> None:
    table = store.make(sa.Column("id", sa.Integer, primary_key=True, autoincrement=False), sa.Column("value", Shouting))
    rejects: list[bulk.Reject] = []
    bulk.insert(table, [(1, "quiet"), (2, 5)], on=store.engine, columns=["id", "value"], rejects=rejects)
    assert store.rows(table) == [(1, "QUIET")]
    assert rejects[0].column == "value"


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
def test_moments_by_the_declared_zone(store: Store) -> None:
    make(store, "timestamptz")
    winter, summer = dt.datetime(2026, 1, 1, 12), dt.datetime(2026, 7, 1, 12)
    rows = [(1, winter), (2, summer), (3, "2026-07-01 12:00"), (4, summer.replace(tzinfo=dt.UTC))]
    bulk.insert("things", rows, on=store.engine, columns=["id", "value"], zone=VIENNA)
    assert [row[1].astimezone(dt.UTC).hour for row in store.rows("things")] == [11, 10, 10, 12]


@pytest.mark.parametrize("store", ["postgresql", "mariadb", "sqlite", "anydb"], indirect=True)
def test_local_times_by_the_declared_zone(store: Store) -> None:
    table = store.make(
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("value", sa.DateTime),
        name="things",
    )
    rows = [(1, UTC_NOON.replace(microsecond=0))]
    bulk.insert(table, rows, on=store.engine, columns=["id", "value"], zone=VIENNA)
    assert read_back(store, table) == [dt.datetime(2026, 7, 1, 14)]


def test_constraints_are_found_by_bisection(store: Store) -> None:
    """NOT NULL, unique, check and foreign keys: the rows at fault are told, the others land, in order."""
    store.run("CREATE TABLE shops (id int PRIMARY KEY)")
    store.run("INSERT INTO shops VALUES (1)")
    store.run(
        "CREATE TABLE things (id int PRIMARY KEY, code varchar(10) NOT NULL UNIQUE, n int CHECK (n < 1000), "
        "shop int NOT NULL, FOREIGN KEY (shop) REFERENCES shops (id))"
    )
    rows = [{"id": n, "code": f"c{n}", "n": n, "shop": 1} for n in range(300)]
    rows[10]["code"] = None
    rows[50]["code"] = "c49"
    rows[51]["id"] = 49
    rows[200]["n"] = 5000
    rows[299]["shop"] = 2
    with_foreign_keys(store)
    rejects: list[bulk.Reject] = []
    result = bulk.insert("things", rows, on=store.engine, rejects=rejects, politeness=bulk.Politeness(first=64))
    assert [reject.row for reject in rejects] == [11, 51, 52, 201, 300]
    assert (result.written, result.rejected, result.rows) == (295, 5, 300)
    assert len(store.rows("things")) == 295
    if store.postgres:
        assert [reject.column for reject in rejects] == ["code", "code", "id", None, "shop"]
        assert "check constraint" in rejects[3].reason


def with_foreign_keys(store: Store) -> None:
    if store.kind in ("sqlite", "anydb"):
        sa.event.listen(store.engine, "connect", lambda raw, _: raw.execute("PRAGMA foreign_keys=ON"))
        store.engine.dispose()


def test_rejects_in_a_file_are_not_told_twice(store: Store, workdir: Path) -> None:
    store.run("CREATE TABLE things (id int PRIMARY KEY, value int)")
    source = workdir / "rows.csv"
    lines = [f"{n},{'x' if n % 20 == 5 else n}" for n in range(200)]
    source.write_text("id,value\n" + "\n".join(lines))
    path = workdir / "rejects.jsonl"

    options: dict[str, Any] = {"on": store.engine, "name": "n", "politeness": bulk.Politeness(first=16, most=16)}
    with pytest.raises(bulk.BadRow, match="max_rejects=4"):
        bulk.insert("things", source, rejects=path, max_rejects=4, **options)
    result = bulk.insert("things", source, rejects=path, **options)
    told = [json.loads(line) for line in path.read_text().splitlines()]
    assert [reject["row"] for reject in told] == list(range(6, 200, 20))
    assert told[0]["column"] == "value"
    assert told[0]["values"] == {"id": "5", "value": "x"}
    assert (result.rejected, result.written) == (10, 190)


def test_without_rejects_the_first_bad_row_ends_it(store: Store) -> None:
    store.run("CREATE TABLE things (id int PRIMARY KEY, value int)")
    rows = [{"id": n, "value": n} for n in range(100)]
    rows[70]["id"] = 3
    with pytest.raises(bulk.BadRow, match="row 71") as caught:
        bulk.insert("things", rows, on=store.engine, politeness=bulk.Politeness(first=16))
    assert caught.value.row == 71
    assert [row[0] for row in store.rows("things")] == list(range(70))


def test_rows_of_another_shape_are_refused(store: Store) -> None:
    store.run("CREATE TABLE things (id int PRIMARY KEY, value int)")
    rejects: list[bulk.Reject] = []
    rows: list[Any] = [{"id": 1, "value": 1}, {"id": 2}, {"id": 3, "value": 3, "more": 1}, None, (5, 5)]
    bulk.insert("things", rows, on=store.engine, rejects=rejects)
    assert [(reject.row, reject.column) for reject in rejects] == [(2, "value"), (3, None), (4, None), (5, None)]
    assert len(store.rows("things")) == 1


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
def test_generated_and_identity_columns(store: Store) -> None:
    store.run(
        "CREATE TABLE things (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int NOT NULL DEFAULT 7, "
        "twice int GENERATED ALWAYS AS (n * 2) STORED)"
    )
    bulk.insert("things", [{"id": 50}], on=store.engine)
    bulk.insert("things", [{"n": 1}], on=store.engine)
    assert store.rows("things") == [(1, 1, 2), (50, 7, 14)]
    with pytest.raises(bulk.WrongTarget, match="computed"):
        bulk.insert("things", [{"twice": 1}], on=store.engine)
