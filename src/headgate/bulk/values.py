"""Conversions that all engines share: what a Python value means for a column of a kind."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import math
import re
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from headgate.bulk.failures import BadValue
from headgate.bulk.model import Column, Encoder, Plan

_ZONED = re.compile(r"(?:[Zz]|[+-]\d\d(?::?\d\d(?::?\d\d)?)?|[A-Za-z_/]{2,})\s*$")
_NEVER_ZONED = frozenset({"infinity", "-infinity", "epoch", "now", "today", "tomorrow", "yesterday"})


class Table(dict[type, Encoder]):
    """Encoders by the exact type of a value; subclasses are found once and remembered.

    Args:
        column: for the message when there is no encoder.
        known: type → encoder.
    """

    def __init__(self, column: Column, known: dict[type, Encoder]) -> None:
        super().__init__(known)
        self._column = column
        self._known = tuple(known.items())

    def __missing__(self, kind: type) -> Encoder:
        for base, encoder in self._known:
            if issubclass(kind, base) and not (base is int and issubclass(kind, bool)):
                self[kind] = encoder
                return encoder
        if hasattr(kind, "item") and hasattr(kind, "dtype"):
            self[kind] = self._scalar
            return self._scalar
        raise BadValue(f"a {kind.__name__} does not fit {self._column.type}")

    def _scalar(self, value: Any) -> Any:
        """A numpy scalar, by the Python value in it."""
        plain = value.item()
        return self[type(plain)](plain)


class RowEncoder:
    """Encodes whole rows; what cannot be encoded is told with its column.

    Args:
        plan: the columns, in the order of a row's values.
        table_of: the engine's encoders for one column.
    """

    def __init__(self, plan: Plan, table_of: Callable[[Column], Table]) -> None:
        self._columns = [plan.table.columns[name] for name in plan.columns]
        self._tables = [table_of(column) for column in self._columns]
        self._before = [plan.before.get(name) for name in plan.columns]
        self._converts = any(self._before)

    def __call__(self, values: Sequence[Any]) -> list[Any]:
        """The encoded values. Raises `BadValue`."""
        if len(values) != len(self._tables):
            raise BadValue(f"the row has {len(values)} values for {len(self._tables)} columns")
        if self._converts:
            values = self._converted(values)
        try:
            return [table[type(value)](value) for table, value in zip(self._tables, values, strict=True)]
        except (BadValue, ValueError, TypeError, OverflowError, ArithmeticError):
            raise self._located(values) from None

    def _located(self, values: Sequence[Any]) -> BadValue:
        """Encode one by one to learn which column it was."""
        for column, table, value in zip(self._columns, self._tables, values, strict=True):
            try:
                table[type(value)](value)
            except BadValue as bad:
                return BadValue(bad.reason, column.name)
            except (ValueError, TypeError, OverflowError, ArithmeticError) as error:
                return BadValue(str(error), column.name)
        raise AssertionError("a row failed as a whole, and no value of it did")

    def _converted(self, values: Sequence[Any]) -> Sequence[Any]:
        """The values after the model's own conversions."""
        converted = list(values)
        for index, convert in enumerate(self._before):
            if convert is not None:
                try:
                    converted[index] = convert(converted[index])
                except Exception as error:
                    raise BadValue(f"the model's type refused it: {error}", self._columns[index].name) from error
        return converted


def refuse(reason: str) -> Encoder:
    """An encoder that refuses every value of a type, with the reason."""

    def encoder(value: Any) -> Any:
        raise BadValue(reason)

    return encoder


def none_encoder(plan: Plan, column: Column, null: Any) -> Encoder:
    """NULL where the column allows it; a refusal that names the column where not."""
    if column.nullable or (column.optional and column.name not in plan.columns):
        return lambda value: null
    return refuse("NULL, and the column is NOT NULL")


def enum_label(column: Column) -> Encoder:
    """An enum member by its name or its value, whichever is a label of the column (SQLAlchemy stores names)."""
    labels = set(column.labels)

    def encoder(value: enum.Enum) -> str:
        for candidate in (value.name, str(value.value)):
            if candidate in labels or not labels:
                return candidate
        raise BadValue(f"{value!r} is none of the labels {', '.join(sorted(labels))}")

    return encoder


def _plain(value: Any) -> Any:
    if isinstance(value, decimal.Decimal | uuid.UUID):
        return str(value)
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, enum.Enum):
        return value.value
    raise TypeError(f"a {type(value).__name__} is no JSON")


def json_text(value: Any) -> str:
    """A value as JSON text. NaN and infinity are refused: JSON has no such numbers."""
    try:
        fast = msgspec.json.encode(value)
        if b"null" not in fast:
            return fast.decode()
        # The fast encoder writes NaN as null, so a null in the text may be a lost number: the strict one decides.
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadValue(f"not JSON: {error}") from None


def finite_decimal(value: decimal.Decimal) -> str:
    """A decimal as text; a signalling NaN is refused."""
    if value.is_snan():
        raise BadValue("a signalling NaN")
    return str(value)


def finite_float(value: float) -> str:
    """A float for a database that has no NaN and no infinity."""
    if not math.isfinite(value):
        raise BadValue(f"{value} is no number for this database")
    return repr(value)


def whole(value: float | decimal.Decimal) -> int:
    """A float or decimal for an integer column; only a whole number is one."""
    if not math.isfinite(value) or value != int(value):
        raise BadValue(f"{value} is no whole number")
    return int(value)


def aware(plan: Plan, value: dt.datetime) -> dt.datetime:
    """A datetime for a column that holds moments."""
    if value.tzinfo is not None:
        return value
    if plan.zone is None:
        raise BadValue("a datetime without a zone for a column that holds moments; give zone=")
    return value.replace(tzinfo=plan.zone)


def naive(plan: Plan, value: dt.datetime) -> dt.datetime:
    """A datetime for a column that holds no zone."""
    if value.tzinfo is None:
        return value
    if plan.zone is None:
        raise BadValue("a datetime with a zone for a column without one; give zone=, to which it is converted")
    return value.astimezone(plan.zone).replace(tzinfo=None)


def zoned_text(plan: Plan) -> Encoder:
    """Text for a column that holds moments: it must name its zone unless `zone=` was given."""

    def encoder(value: str) -> str:
        if plan.zone is None and value.strip().lower() not in _NEVER_ZONED and not _ZONED.search(value):
            raise BadValue(f"{value!r} names no zone and the column holds moments; give zone=")
        return value

    return encoder


def seconds_of(value: dt.timedelta) -> tuple[int, int, int]:
    """A timedelta as days, seconds and microseconds."""
    return value.days, value.seconds, value.microseconds
