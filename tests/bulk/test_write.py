"""Insert, upsert, update and delete do the same thing on every database."""

from __future__ import annotations

import dataclasses
from collections import namedtuple
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy import orm

from headgate import bulk
from headgate.bulk.chunks import Chunks
from tests.bulk.conftest import Store

SMALL = bulk.Politeness(first=7, most=50)


@pytest.fixture
def items(store: Store) -> sa.Table:
    return store.make(
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(50), nullable=False),
        sa.Column("stock", sa.Integer),
        sa.Column("price", sa.Numeric(12, 2)),
    )


def made(count: int, *, step: int = 1) -> list[dict[str, Any]]:
    numbers = range(0, count * step, step)
    return [{"id": n, "name": f"item {n}", "stock": n % 7, "price": Decimal(n) / 4} for n in numbers]


def test_inserts_every_row_in_chunks(store: Store, items: sa.Table) -> None:
    result = bulk.insert(items, reversed(made(400)), on=store.engine, politeness=SMALL)
    assert (result.rows, result.written, result.rejected, result.skipped) == (400, 400, 0, 0)
    assert result.chunks >= 8
    assert [row[:3] for row in store.rows(items)] == [(n, f"item {n}", n % 7) for n in range(400)]


def test_text_survives_as_it_is(store: Store, items: sa.Table) -> None:
    odd = [
        "tab\there",
        "line\nbreak",
        "back\\slash \\N",
        "quote ' \" `",
        "ünïcode ☃ 🦊",
        "",
        "\\.",
        "a\rb",
        "100%s %(x)s",
    ]
    bulk.insert(items, [{"id": n, "name": text} for n, text in enumerate(odd)], on=store.engine)
    assert [row[1] for row in store.rows(items)] == odd


def test_upserts_and_the_last_row_of_a_key_wins(store: Store, items: sa.Table) -> None:
    bulk.insert(items, made(50), on=store.engine)
    rows = [{"id": n, "name": "first"} for n in range(40, 60)] + [{"id": n, "name": "last"} for n in range(40, 60)]
    result = bulk.upsert(items, rows, on=store.engine)
    found = store.rows(items)
    assert len(found) == 60
    assert {row[1] for row in found[40:]} == {"last"}
    assert (found[45][2], found[55][2]) == (45 % 7, None)
    assert (result.rows, result.rejected) == (40, 0)


def test_updates_what_is_there_and_counts_what_is_not(store: Store, items: sa.Table) -> None:
    bulk.insert(items, made(100, step=2), on=store.engine)
    rows = [{"id": n, "stock": 1000 + n} for n in range(100)]
    result = bulk.update(items, rows, on=store.engine, politeness=SMALL)
    assert (result.rows, result.written, result.skipped) == (100, 50, 50)
    assert [row[2] for row in store.rows(items)][:50] == [1000 + n for n in range(0, 100, 2)]
    assert store.rows(items)[60][1:3] == ("item 120", 120 % 7)


def test_an_update_that_changes_nothing_still_counts_as_written(store: Store, items: sa.Table) -> None:
    bulk.insert(items, made(10), on=store.engine)
    assert bulk.update(items, made(10), on=store.engine).written == 10


def test_deletes_by_key(store: Store, items: sa.Table) -> None:
    bulk.insert(items, made(100), on=store.engine)
    result = bulk.delete(items, [{"id": n} for n in range(50, 150)], on=store.engine, politeness=SMALL)
    assert (result.written, result.skipped) == (50, 50)
    assert [row[0] for row in store.rows(items)] == list(range(50))


def test_expressions_see_every_row_of_a_key(store: Store, items: sa.Table) -> None:
    bulk.insert(items, [{"id": n, "name": "x", "stock": 100} for n in range(5)], on=store.engine)
    rows = [{"id": n % 5, "stock": 1} for n in range(35)]
    result = bulk.update(items, rows, on=store.engine, set={"stock": "{old} - {new}"}, politeness=SMALL)
    assert [row[2] for row in store.rows(items)] == [93] * 5
    assert result.written == 35


def test_expressions_alone_need_no_values(store: Store, items: sa.Table) -> None:
    bulk.insert(items, made(10), on=store.engine)
    keys = [{"id": n} for n in range(5)]
    result = bulk.update(items, keys, on=store.engine, set={"stock": "{old.id} * 2 + 1", "name": "'%d'"})
    assert result.written == 5
    assert [row[1:3] for row in store.rows(items)][:6] == [("%d", n * 2 + 1) for n in range(5)] + [("item 5", 5)]


def test_expressions_in_an_upsert(store: Store, items: sa.Table) -> None:
    bulk.insert(items, [{"id": 1, "name": "a", "stock": 10}], on=store.engine)
    rows = [{"id": 1, "name": "b", "stock": 5}, {"id": 2, "name": "c", "stock": 7}, {"id": 1, "name": "d", "stock": 1}]
    bulk.upsert(items, rows, on=store.engine, set={"stock": "{old} + {new}"})
    assert [row[:3] for row in store.rows(items)] == [(1, "d", 16), (2, "c", 7)]


def test_conflicts_are_skipped_when_asked(store: Store, items: sa.Table) -> None:
    bulk.insert(items, made(10), on=store.engine)
    rows = [{"id": n, "name": "new"} for n in range(5, 15)] + [{"id": 14, "name": "newer"}]
    result = bulk.insert(items, rows, on=store.engine, conflict="skip", key="id")
    assert (result.written, result.skipped) == (5, 6)
    assert [row[1] for row in store.rows(items)] == [f"item {n}" for n in range(10)] + ["new"] * 5


def test_conflict_update_is_an_upsert(store: Store, items: sa.Table) -> None:
    bulk.insert(items, made(3), on=store.engine)
    bulk.insert(items, [{"id": 2, "name": "z"}, {"id": 3, "name": "z"}], on=store.engine, conflict="update")
    assert [row[1] for row in store.rows(items)] == ["item 0", "item 1", "z", "z"]


def test_returning_is_streamed_after_each_commit(store: Store) -> None:
    table = store.make(sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(50)))
    got: list[tuple[Any, ...]] = []
    calls: list[int] = []

    def receive(rows: Any) -> None:
        calls.append(len(rows))
        got.extend(rows)

    names = [{"name": f"n{n:03}"} for n in range(30)]
    bulk.insert(table, names, on=store.engine, returning=["id", "name"], returned=receive, politeness=SMALL)
    assert len(calls) > 1
    assert sorted(got) == store.rows(table)


def test_an_empty_source_is_no_mistake(store: Store, items: sa.Table) -> None:
    result = bulk.insert(items, [], on=store.engine)
    assert (result.rows, result.written, result.chunks) == (0, 0, 0)


@dataclasses.dataclass
class Item:
    id: int
    name: str


class Record(msgspec.Struct):
    id: int
    name: str


Pair = namedtuple("Pair", "name id")


def test_rows_of_every_kind(store: Store, items: sa.Table) -> None:
    sources: list[Any] = [
        [{"name": "dict", "id": 1}],
        [Item(2, "dataclass")],
        [Record(3, "struct")],
        [Pair("named tuple", 4)],
        ({"id": n, "name": "generator"} for n in (5,)),
    ]
    for rows in sources:
        bulk.insert(items, rows, on=store.engine)
    bulk.insert(items, [(6, "tuple")], on=store.engine, columns=["id", "name"])
    found = ["dict", "dataclass", "struct", "named tuple", "generator", "tuple"]
    assert [row[1] for row in store.rows(items)] == found


def test_async_rows(store: Store, items: sa.Table) -> None:
    async def rows() -> AsyncIterator[dict[str, Any]]:
        for row in made(25):
            yield row

    assert bulk.insert(items, rows(), on=store.engine).written == 25


@pytest.mark.anyio
async def test_async_rows_from_within_a_loop(store: Store, items: sa.Table) -> None:
    async def rows() -> AsyncIterator[dict[str, Any]]:
        for row in made(25):
            yield row

    with pytest.raises(bulk.BulkError, match="run_async"):
        bulk.insert(items, rows(), on=store.engine)
    result = await bulk.run_async(bulk.insert, items, rows(), on=store.engine)
    assert result.written == 25


def test_csv_and_json_lines(store: Store, items: sa.Table, workdir: Path) -> None:
    csv = workdir / "items.csv"
    csv.write_text('id,name,stock,price\n1,"two\nlines, ""quoted""",3,1.50\n2,plain,,\n', encoding="utf-8-sig")
    lines = workdir / "items.jsonl"
    lines.write_text(
        '{"id": 3, "name": "json", "stock": 4, "price": "2.25"}\n\n{"id":4,"name":"x","stock":null,"price":1}\n'
    )
    bulk.insert(items, csv, on=store.engine)
    bulk.insert(items, str(lines), on=store.engine)
    found = [
        (n, name, stock, None if price is None else float(str(price))) for n, name, stock, price in store.rows(items)
    ]
    assert found == [
        (1, 'two\nlines, "quoted"', 3, 1.5),
        (2, "plain", None, None),
        (3, "json", 4, 2.25),
        (4, "x", None, 1.0),
    ]


def test_frames(store: Store, items: sa.Table) -> None:
    import pandas
    import polars
    import pyarrow

    data: dict[str, list[Any]] = {"id": [1, 2], "name": ["a", "b"], "stock": [None, 2]}
    table = pyarrow.table(data)
    bulk.upsert(items, table, on=store.engine)
    bulk.upsert(items, pyarrow.table({**data, "id": [3, 4]}).to_reader(), on=store.engine)
    bulk.upsert(items, table.to_batches()[0], on=store.engine)
    bulk.upsert(items, polars.DataFrame({**data, "id": [5, 6]}), on=store.engine)
    bulk.upsert(items, pandas.DataFrame({**data, "id": [7, 8]}), on=store.engine)
    assert [row[:3] for row in store.rows(items)] == [(n, "ab"[(n + 1) % 2], None if n % 2 else 2) for n in range(1, 9)]


class Base(orm.DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "products"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    title: orm.Mapped[str] = orm.mapped_column("product_title", sa.String(50))


def test_mapped_classes_and_instances(store: Store) -> None:
    Base.metadata.create_all(store.engine)
    bulk.insert(Product, [Product(id=1, title="instance"), Product(id=2, title="second")], on=store.engine)
    bulk.update(Product, [{"id": 2, "title": "dict"}], on=store.engine)
    assert store.rows("products") == [(1, "instance"), (2, "dict")]


def test_a_flask_sqlalchemy_model_needs_no_engine(store: Store) -> None:
    import flask
    from flask_sqlalchemy import SQLAlchemy

    app = flask.Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = store.engine.url
    db = SQLAlchemy()

    class Thing(db.Model):  # type: ignore[name-defined, misc]
        id = db.Column(db.Integer, primary_key=True)
        name = db.Column(db.String(20))

    db.init_app(app)
    with app.app_context():
        db.create_all()
        bulk.insert(Thing, [{"id": 1, "name": "a"}])
        bulk.upsert("thing", [{"id": 1, "name": "b"}], on=db)
        assert store.rows("thing") == [(1, "b")]
        db.engine.dispose()


def test_a_composite_key(store: Store) -> None:
    table = store.make(
        sa.Column("shop", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("code", sa.String(10), primary_key=True),
        sa.Column("stock", sa.Integer),
    )
    keys = [(shop, f"c{code}") for shop in range(5) for code in range(5)]
    bulk.insert(table, [(*key, 0) for key in keys], on=store.engine, columns=["shop", "code", "stock"])
    bulk.upsert(table, [{"code": "c3", "shop": 2, "stock": 9}, {"code": "n", "shop": 2, "stock": 8}], on=store.engine)
    bulk.delete(table, [{"code": "c0", "shop": 0}], on=store.engine)
    found = {(row[0], row[1]): row[2] for row in store.rows(table, "shop, code")}
    assert len(found) == 25
    assert (found[2, "c3"], found[2, "n"], found[2, "c2"]) == (9, 8, 0)
    assert (0, "c0") not in found


def test_rows_are_read_as_they_are_needed(store: Store, items: sa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source of any length: never more than two chunks of it are held."""
    read = 0
    ahead: list[int] = []
    original = Chunks.read

    def watched(self: Chunks, most_rows: int) -> Any:
        ahead.append(read)
        return original(self, most_rows)

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal read
        for row in made(500):
            read += 1
            yield row

    monkeypatch.setattr(Chunks, "read", watched)
    bulk.insert(items, rows(), on=store.engine, politeness=bulk.Politeness(first=10, most=10))
    assert ahead[:5] == [1, 10, 20, 30, 40]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda t, e: bulk.insert("nothing_here", [{"id": 1}], on=e), "there is no table"),
        (lambda t, e: bulk.insert(t, [{"id": 1, "nome": "x"}], on=e), "no column nome"),
        (lambda t, e: bulk.insert(t, [{"id": 1}], on=e), "name of items is NOT NULL"),
        (lambda t, e: bulk.update(t, [{"name": "x"}], on=e), "lack the primary key"),
        (lambda t, e: bulk.update(t, [{"id": 1}], on=e), "nothing but the key"),
        (lambda t, e: bulk.upsert(t, [{"name": "x", "id": 1}], on=e, key="name"), "no unique index"),
        (lambda t, e: bulk.insert(t, [(1, "x")], on=e), "columns="),
        (lambda t, e: bulk.insert(t, {"id": 1}, on=e), "one row or none"),
        (lambda t, e: bulk.insert(t, [{"id": 1, "name": "x"}]), "which database"),
        (lambda t, e: bulk.insert(t, [{"id": 1, "name": "x"}], on=e, returning="id"), "both or neither"),
        (lambda t, e: bulk.update(t, [{"id": 1, "stock": 1}], on=e, set={"stock": "{nu}"}), "cannot be filled"),
        (lambda t, e: bulk.insert(t, [{"id": 1, "name": "x"}], on=e, zone="Nowhere/At_All"), "no time zone"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(store: Store, items: sa.Table, call: Any, words: str) -> None:
    with pytest.raises(bulk.WrongTarget, match=words):
        call(items, store.engine)
    assert store.rows(items) == []


def test_a_session_is_refused(store: Store, items: sa.Table) -> None:
    with orm.Session(store.engine) as session, pytest.raises(bulk.WrongTarget, match="transaction of its own"):
        bulk.insert(items, [{"id": 1, "name": "x"}], on=session)
