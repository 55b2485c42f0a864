"""Reading in bounded memory, resuming by key, reading into a write, and exports."""

from __future__ import annotations

import csv
import gc
import io
import json
import threading
from typing import Any

import flask
import pytest
import sqlalchemy as sa
from pyarrow import ipc

from headgate import bulk
from headgate.base.errors import Full
from tests.bulk.conftest import Store

COUNT = 2_500


@pytest.fixture
def items(store: Store) -> sa.Table:
    table = store.make(
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("shop", sa.Integer, nullable=False),
        sa.Column("name", sa.String(100)),
    )
    rows = [(n, n % 3, f'n"{n}",\n ü' if n % 5 else None) for n in range(COUNT)]
    bulk.insert(table, rows, on=store.engine, columns=["id", "shop", "name"])
    return table


def test_reads_every_row_in_chunks(store: Store, items: sa.Table) -> None:
    reader = bulk.read(
        "SELECT id, name FROM items WHERE shop = :shop ORDER BY id;", on=store.engine, params={"shop": 1}
    )
    chunks = list(reader.chunks())
    assert [row[0] for chunk in chunks for row in chunk] == list(range(1, COUNT, 3))
    assert reader.columns == ("id", "name")
    assert len(chunks) > 1


def test_reads_a_select(store: Store, items: sa.Table) -> None:
    query = sa.select(items.c.id, items.c.name).where(items.c.id.in_([1, 2, 3])).order_by(items.c.id)
    assert [row["id"] for row in bulk.read(query, on=store.engine).dicts()] == [1, 2, 3]


@pytest.mark.parametrize("form", ["text", "select"])
def test_pages_by_key_and_resumes_after_one(store: Store, items: sa.Table, form: str) -> None:
    query: Any = "SELECT * FROM items WHERE shop < :most"
    params: dict[str, Any] | None = {"most": 2}
    if form == "select":
        query, params = sa.select(items).where(items.c.shop < 2), None
    reader = bulk.read(query, on=store.engine, params=params, key=["shop", "id"], size=300)
    rows = list(reader)
    wanted = sorted((n % 3, n) for n in range(COUNT) if n % 3 < 2)
    assert [(row[1], row[0]) for row in rows] == wanted
    after = reader.key_of(rows[1000])
    rest = bulk.read(query, on=store.engine, params=params, key=["shop", "id"], after=after)
    assert [(row[1], row[0]) for row in rest] == wanted[1001:]


def test_a_chunk_is_bounded_by_bytes(store: Store, items: sa.Table) -> None:
    for key in (None, "id"):
        reader = bulk.read("SELECT * FROM items", on=store.engine, key=key, size=1000, chunk_bytes=10_000)
        sizes = [len(chunk) for chunk in reader.chunks()]
        assert sum(sizes) == COUNT
        assert max(sizes[1:]) < 100


def test_a_reader_may_be_left_early(store: Store, items: sa.Table) -> None:
    chunks = bulk.read("SELECT * FROM items", on=store.engine).chunks()
    assert len(next(chunks)) == 100
    chunks.close()
    assert gc.isenabled()
    store.run("DELETE FROM items")


def test_from_one_table_into_another(store: Store, items: sa.Table) -> None:
    """A keyed reader resumes at its key: the source before the checkpoint is not read again."""
    store.run("CREATE TABLE copies (id int PRIMARY KEY, shop int, name varchar(100))")
    options: dict[str, Any] = {"on": store.engine, "name": "copy", "politeness": bulk.Politeness(first=100, most=100)}

    def reader(query: str = "SELECT * FROM items") -> bulk.Reader:
        return bulk.read(query, on=store.engine, key="id")

    if store.kind in ("sqlite", "anydb"):
        bulk.insert("copies", reader(), **options)
    else:
        store.run("INSERT INTO copies (id) VALUES (1234)")
        with pytest.raises(bulk.BadRow, match="row 1235"):
            bulk.insert("copies", reader(), **options)
        store.run("DELETE FROM copies WHERE id = 1234")
        store.run("DELETE FROM items WHERE id < 1000")  # not needed any more
        assert bulk.insert("copies", reader(), **options).resumed_at == 1234
    assert [row[0] for row in store.rows("copies")] == list(range(COUNT))


def test_exports_csv(store: Store, items: sa.Table) -> None:
    export = bulk.export("SELECT * FROM items WHERE id >= :least ORDER BY id", on=store.engine, params={"least": 10})
    rows = list(csv.reader(io.StringIO(b"".join(export).decode(), newline="")))
    assert rows[0] == ["id", "shop", "name"]
    assert rows[1] == ["10", "1", ""]
    assert rows[2] == ["11", "2", 'n"11",\n ü']
    assert len(rows) == 1 + COUNT - 10


def test_exports_json_lines(store: Store, items: sa.Table) -> None:
    export = bulk.export(sa.select(items).order_by(items.c.id), on=store.engine, form="jsonl")
    rows = [json.loads(line) for line in b"".join(export).decode().split("\n") if line]
    assert rows[11] == {"id": 11, "shop": 2, "name": 'n"11",\n ü'}
    assert len(rows) == COUNT


def test_an_empty_export_has_its_header(store: Store, items: sa.Table) -> None:
    query = "SELECT id, name FROM items WHERE id < 0"
    assert b"".join(bulk.export(query, on=store.engine)).strip() == b"id,name"
    assert b"".join(bulk.export(query, on=store.engine, form="jsonl")) == b""
    table = ipc.open_stream(b"".join(bulk.export(query, on=store.engine, form="arrow"))).read_all()
    assert (table.num_rows, table.column_names) == (0, ["id", "name"])


def test_exports_arrow(store: Store, items: sa.Table) -> None:
    export = bulk.export("SELECT * FROM items ORDER BY id", on=store.engine, form="arrow")
    table = ipc.open_stream(b"".join(export)).read_all()
    assert table.num_rows == COUNT
    assert table.slice(10, 2).to_pylist() == [
        {"id": 10, "shop": 1, "name": None},
        {"id": 11, "shop": 2, "name": 'n"11",\n ü'},
    ]


def test_an_export_for_a_slow_client_holds_no_transaction(store: Store, items: sa.Table) -> None:
    app = flask.Flask(__name__)

    @app.get("/items.csv")
    def view() -> Any:
        return bulk.export("SELECT * FROM items", on=store.engine).response("items.csv")

    response = app.test_client().get("/items.csv", buffered=False)
    first = next(response.iter_encoded())
    assert first.startswith(b"id,shop,name")
    store.run("DROP TABLE items")  # nobody holds it
    assert response.headers["Content-Disposition"] == "attachment; filename=items.csv"
    assert response.content_type == "text/csv; charset=utf-8"
    response.close()


def test_an_export_has_a_limit(store: Store, items: sa.Table) -> None:
    with pytest.raises(Full, match="max_bytes=1,000"):
        bulk.export("SELECT * FROM items", on=store.engine, max_bytes=1_000)
    with pytest.raises(bulk.WrongTarget, match="form="):
        bulk.export("SELECT * FROM items", on=store.engine, form="xml")  # type: ignore[arg-type]


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
def test_arrow_types_of_postgresql(store: Store) -> None:
    query = (
        "SELECT 1::int2 AS a, 1.25::numeric(8,2) AS b, true AS c, '2026-01-01 12:00+02'::timestamptz AS d, "
        "'2026-01-02'::date AS e, '{\"x\": 1}'::jsonb AS f, ''::text AS g, NULL::int AS h"
    )
    table = ipc.open_stream(b"".join(bulk.export(query, on=store.engine, form="arrow"))).read_all()
    assert [str(field.type) for field in table.schema] == [
        "int16",
        "decimal128(8, 2)",
        "bool",
        "timestamp[us, tz=UTC]",
        "date32[day]",
        "string",
        "string",
        "int32",
    ]
    row = table.to_pylist()[0]
    assert (str(row["b"]), row["d"].isoformat(), row["g"], row["h"]) == ("1.25", "2026-01-01T10:00:00+00:00", "", None)


@pytest.mark.parametrize("store", ["postgresql", "mariadb"], indirect=True)
def test_memory_is_bounded(store: Store) -> None:
    """A result of 50 MB passes through a process whose Python objects grow by less than 4 MB."""
    import tracemalloc

    source = "generate_series(1, 50000)" if store.postgres else "seq_1_to_50000"
    query = f"SELECT repeat('x', 1000) AS text FROM {source} t"
    tracemalloc.start()
    try:
        rows = sum(1 for _ in bulk.read(query, on=store.engine))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rows == 50_000
    assert peak < 4 << 20


def test_readers_in_threads_do_not_disturb_each_other(store: Store, items: sa.Table) -> None:
    sums: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: sums.append(sum(row[0] for row in bulk.read("SELECT id FROM items", on=store.engine)))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sums == [COUNT * (COUNT - 1) // 2] * 4
    assert gc.isenabled()
