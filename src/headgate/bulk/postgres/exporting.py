"""Exports by COPY: the server writes the text, this process only carries it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import psycopg
from sqlalchemy import Engine

from headgate.bulk.postgres.connect import connect, twin_of
from headgate.bulk.query import as_query

_BLOCK: Final = 256 << 10


def _inlined(connection: psycopg.Connection[Any], engine: Engine, query: Any, params: Mapping[str, Any]) -> str:
    """COPY takes no parameters: psycopg puts them into the text, quoted by their types."""
    compiled = as_query(query, params, twin_of(engine))
    return psycopg.ClientCursor(connection).mogrify(compiled.sql, compiled.parameters or None)


def _copy(connection: psycopg.Connection[Any], statement: str, out: Any) -> None:
    with connection.cursor().copy(statement.encode()) as copy:
        text = _Text(copy)
        while block := text.read():
            out.write(block)


def write_csv(engine: Engine, query: Any, params: Mapping[str, Any], out: Any) -> None:
    with connect(engine) as connection:
        _copy(connection, f"COPY ({_inlined(connection, engine, query, params)}) TO STDOUT (FORMAT csv, HEADER)", out)


def write_lines(engine: Engine, query: Any, params: Mapping[str, Any], out: Any) -> None:
    """JSON made by the server. Control characters as quote and delimiter leave its text as it is; a raw newline
    can only be white space of a `json` column, for within a string it is escaped."""
    with connect(engine) as connection:
        inner = _inlined(connection, engine, query, params)
        rows = rf"SELECT replace(row_to_json(q)::text, E'\n', ' ') FROM ({inner}) q"
        _copy(connection, rf"COPY ({rows}) TO STDOUT (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02')", out)


class _Text:
    """COPY's text as a file to read. COPY gives a block for each row; they are joined as they come, since many kept
    alive at once cost more than the copying."""

    closed = False

    def __init__(self, copy: psycopg.Copy) -> None:
        self._copy = copy
        self._joined = bytearray()

    def read(self, size: int = _BLOCK) -> bytes:
        """Up to so many bytes; fewer only at the end."""
        joined, read = self._joined, self._copy.read
        while len(joined) < size and (block := read()):
            joined += block
        part = bytes(joined[:size])
        del joined[:size]
        return part

    def peek(self) -> bool:
        """Whether there is anything."""
        self._joined += self._copy.read()
        return bool(self._joined)


def write_arrow(engine: Engine, query: Any, params: Mapping[str, Any], out: Any) -> None:
    """CSV from COPY, parsed by Arrow with the types that the query's columns have."""
    import pyarrow
    from pyarrow import csv, ipc

    with connect(engine) as connection:
        connection.execute("SET timezone = 'UTC'; SET bytea_output = 'hex'")
        inner = _inlined(connection, engine, query, params)
        described = connection.execute(f"SELECT * FROM ({inner}) q LIMIT 0".encode()).description or []
        types = {column.name: _arrow_type(column) for column in described}
        with connection.cursor().copy(f"COPY ({inner}) TO STDOUT (FORMAT csv)".encode()) as copy:
            text: Any = _Text(copy)
            if not text.peek():
                ipc.new_stream(out, pyarrow.schema(types.items())).close()
                return
            batches = csv.open_csv(
                text,
                memory_pool=pyarrow.system_memory_pool(),
                read_options=csv.ReadOptions(column_names=list(types), use_threads=False, block_size=_BLOCK),
                parse_options=csv.ParseOptions(newlines_in_values=True),
                convert_options=csv.ConvertOptions(
                    column_types=types,
                    null_values=[""],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                    true_values=["t"],
                    false_values=["f"],
                ),
            )
            with ipc.new_stream(out, batches.schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)


def _arrow_type(column: psycopg.Column) -> Any:
    import pyarrow

    simple = {
        "int2": pyarrow.int16(),
        "int4": pyarrow.int32(),
        "int8": pyarrow.int64(),
        "float4": pyarrow.float32(),
        "float8": pyarrow.float64(),
        "bool": pyarrow.bool_(),
        "date": pyarrow.date32(),
        "timestamp": pyarrow.timestamp("us"),
        "timestamptz": pyarrow.timestamp("us", "UTC"),
    }
    found = psycopg.adapters.types.get(column.type_code)
    name = found.name if found is not None else ""
    if name == "numeric" and column.precision:
        return pyarrow.decimal128(column.precision, column.scale or 0)
    return simple.get(name, pyarrow.string())


WRITERS: Final = {"csv": write_csv, "jsonl": write_lines, "arrow": write_arrow}
