"""The records of a bulk write: what is asked for, where it stands, and what came of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What a column holds, whatever its database calls the type."""

    INTEGER = "integer"
    FLOAT = "float"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    TEXT = "text"
    BYTES = "bytes"
    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamp"
    """A date and time without a zone."""
    TIMESTAMPTZ = "timestamptz"
    """A moment."""
    INTERVAL = "interval"
    JSON = "json"
    UUID = "uuid"
    ENUM = "enum"
    ARRAY = "array"
    OTHER = "other"
    """Anything else: values are given as text and the database decides."""


@dataclass(frozen=True, slots=True)
class Column:
    """A real column, as the database describes it."""

    name: str
    kind: Kind
    type: str
    """The database's own spelling, for messages and casts."""
    nullable: bool = True
    optional: bool = False
    """It has a default or numbers itself, so an insert may leave it out."""
    generated: bool = False
    """Computed by the database; it cannot be written."""
    always: bool = False
    """GENERATED ALWAYS AS IDENTITY: writing it needs OVERRIDING SYSTEM VALUE."""
    labels: tuple[str, ...] = ()
    """The values of an enum."""
    item: Kind | None = None
    """What an array holds."""
    bits: int | None = None
    """The width of an integer."""


@dataclass(frozen=True, slots=True)
class Table:
    """A real table: its columns in their order, its primary key and its unique keys."""

    schema: str | None
    name: str
    columns: Mapping[str, Column]
    primary_key: tuple[str, ...]
    unique: tuple[tuple[str, ...], ...] = ()

    @property
    def label(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


class Operation(StrEnum):
    INSERT = "insert"
    UPSERT = "upsert"
    UPDATE = "update"
    DELETE = "delete"


class Conflict(StrEnum):
    """What an insert does with a row whose key is there already."""

    ERROR = "error"
    SKIP = "skip"
    UPDATE = "update"


Encoder = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """One bulk write, decided: every engine makes its statements from this alone."""

    operation: Operation
    table: Table
    columns: tuple[str, ...]
    """The columns that each row gives, in the order of the values."""
    key: tuple[str, ...]
    """The columns that find a row; empty for a plain insert."""
    changed: tuple[str, ...]
    """The columns that an update or upsert sets."""
    expressions: Mapping[str, str] = field(default_factory=dict)
    """Column → SQL with `{old}` and `{new}`, instead of the row's value."""
    conflict: Conflict = Conflict.ERROR
    any_conflict: bool = False
    """An insert that skips on any unique key, because none was named."""
    returning: tuple[str, ...] = ()
    zone: dt.tzinfo | None = None
    """The zone of naive datetimes; None refuses them where a moment is asked for."""
    textual: bool = False
    """The source gives text in the database's own spelling (CSV)."""
    before: Mapping[str, Encoder] = field(default_factory=dict)
    """Column → a conversion of the model's own (a SQLAlchemy TypeDecorator)."""


@dataclass(frozen=True, slots=True)
class Politeness:
    """How much a bulk write may be felt by others.

    Args:
        lock_target: seconds that a chunk's transaction may hold its locks; chunks grow and shrink to hold it.
        duty: share of the time spent writing, 0–1; below 1 the writer rests between chunks.
        lock_timeout: seconds to wait for somebody else's lock before the chunk is tried again.
        statement_timeout: seconds for one statement before the chunk is halved and tried again.
        pause: called about once a second; a reason (text) pauses the write until it returns None.
        first: rows of the first chunk. least, most: the bounds of a chunk.
        chunk_bytes: the greatest size of an encoded chunk.
    """

    lock_target: float = 0.05
    duty: float = 1.0
    lock_timeout: float = 2.0
    statement_timeout: float = 60.0
    pause: Callable[[], str | None] | None = None
    first: int = 2_000
    least: int = 1
    most: int = 20_000
    chunk_bytes: int = 2 << 20

    def __post_init__(self) -> None:
        if not 0 < self.duty <= 1:
            raise ValueError(f"duty is a share of the time, above 0 and at most 1; {self.duty} was given")
        if not 1 <= self.least <= self.first <= self.most:
            raise ValueError("the rows of a chunk must hold 1 ≤ least ≤ first ≤ most")


@dataclass(frozen=True, slots=True)
class Position:
    """The checkpoint, as stored beside the data and in one transaction with it."""

    name: str
    epoch: int
    """Raised by each writer that takes the name over: the fence."""
    pos: int = 0
    """Source rows that are dealt with: written, skipped or rejected."""
    mark: str = ""
    """JSON: digests of the first and last of them, and where the source goes on."""
    written: int = 0
    rejected: int = 0
    done: bool = False


@dataclass(frozen=True, slots=True)
class Advance:
    """The checkpoint's move that a chunk commits together with its rows."""

    position: Position
    pos: int
    mark: str
    rejected: int
    """Rows refused since the last commit, to be counted with this one."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What a chunk's transaction did."""

    written: int
    seconds: float
    """How long the locks were held."""
    returned: Sequence[tuple[Any, ...]] = ()


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that was refused while the others landed."""

    row: int
    """Its number in the source, from 1."""
    column: str | None
    reason: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """What a bulk write did, earlier tries of the same name included."""

    name: str
    operation: str
    table: str
    rows: int
    """Rows that the source gave."""
    written: int
    """Rows of the table that were inserted, changed or deleted."""
    rejected: int
    seconds: float
    """Of this try."""
    resumed_at: int = 0
    """Rows that an earlier try had dealt with."""
    chunks: int = 0
    retries: int = 0

    @property
    def skipped(self) -> int:
        """Rows that changed nothing: no such key, a conflict skipped, or a later row with the same key won."""
        return self.rows - self.written - self.rejected
