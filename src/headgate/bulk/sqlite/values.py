"""Python values as SQLite stores them, in the forms that SQLAlchemy reads back.

SQLite itself refuses next to nothing, so what does not fit the declared type is refused here.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import math
import uuid
from collections.abc import Callable
from typing import Any

from headgate.bulk import values as shared
from headgate.bulk.failures import BadValue
from headgate.bulk.model import Column, Encoder, Kind, Plan

Known = dict[type, Encoder]
_LARGEST = (1 << 63) - 1


def kind_of(declared: str) -> Kind:
    """What a declared type means: by its name where it has one, else by SQLite's affinity rules (datatype3 §3.1)."""
    name = declared.upper().partition("(")[0].strip()
    named = {
        "BOOLEAN": Kind.BOOLEAN,
        "BOOL": Kind.BOOLEAN,
        "DATE": Kind.DATE,
        "TIME": Kind.TIME,
        "DATETIME": Kind.TIMESTAMP,
        "TIMESTAMP": Kind.TIMESTAMP,
        "JSON": Kind.JSON,
        "UUID": Kind.UUID,
        "NUMERIC": Kind.DECIMAL,
        "DECIMAL": Kind.DECIMAL,
    }
    if name in named:
        return named[name]
    for part, kind in (
        ("INT", Kind.INTEGER),
        ("CHAR", Kind.TEXT),
        ("CLOB", Kind.TEXT),
        ("TEXT", Kind.TEXT),
        ("BLOB", Kind.BYTES),
        ("REAL", Kind.FLOAT),
        ("FLOA", Kind.FLOAT),
        ("DOUB", Kind.FLOAT),
    ):
        if part in name:
            return kind
    return Kind.OTHER


def _same(value: Any) -> Any:
    return value


def _integer(value: int) -> int:
    if not -_LARGEST - 1 <= value <= _LARGEST:
        raise BadValue(f"{value} is out of range for a 64-bit integer")
    return value


def _whole(value: float | decimal.Decimal) -> int:
    return _integer(shared.whole(value))


def _parsed_integer(value: str) -> int:
    try:
        return _integer(int(value))
    except ValueError:
        raise BadValue(f"{value!r} is no integer") from None


def _real(value: float) -> float:
    if math.isnan(value):
        raise BadValue("NaN, which SQLite would store as NULL")
    return value


def _parsed_real(value: str) -> float:
    try:
        return _real(float(value))
    except ValueError:
        raise BadValue(f"{value!r} is no number") from None


def _decimal(value: decimal.Decimal) -> str:
    if not value.is_finite():
        raise BadValue(f"{value} is no number for this database")
    return str(value)


def _parsed_decimal(value: str) -> str:
    try:
        return _decimal(decimal.Decimal(value))
    except decimal.InvalidOperation:
        raise BadValue(f"{value!r} is no number") from None


def _flag(value: int) -> int:
    if value not in (0, 1):
        raise BadValue(f"{value} is no boolean")
    return value


def _parsed_flag(value: str) -> int:
    found = {"t": 1, "true": 1, "1": 1, "f": 0, "false": 0, "0": 0}.get(value.strip().lower())
    if found is None:
        raise BadValue(f"{value!r} is no boolean")
    return found


def text(value: str) -> str:
    """Text for SQLite. NUL is refused: most of SQLite's own functions end a text there."""
    if "\0" in value:
        raise BadValue("the text holds a NUL character (0x00), at which SQLite would end it")
    return value


def _stamp(value: dt.datetime) -> str:
    return value.isoformat(" ", "microseconds")


def _parsed(kind: Any, show: Callable[[Any], str]) -> Encoder:
    def encoder(value: str) -> str:
        try:
            return show(kind.fromisoformat(value.strip()))
        except ValueError as error:
            raise BadValue(str(error)) from None

    return encoder


def _uuid(column: Column) -> Encoder:
    # SQLAlchemy declares a portable UUID as CHAR(32) and stores its bare digits
    return (lambda value: value.hex) if column.type.upper() == "CHAR(32)" else str


def _known(plan: Plan, column: Column) -> Known:
    label = shared.enum_label(column)
    number: Known = {bool: shared.refuse("a boolean for a number")}
    moment: Encoder = lambda value: _stamp(shared.naive(plan, value))  # noqa: E731 - used in two places below
    json: Encoder = shared.json_text
    by_kind: dict[Kind, Known] = {
        Kind.INTEGER: {int: _integer, float: _whole, decimal.Decimal: _whole, str: _parsed_integer, **number},
        Kind.FLOAT: {float: _real, int: float, decimal.Decimal: float, str: _parsed_real, **number},
        Kind.DECIMAL: {decimal.Decimal: _decimal, int: str, float: shared.finite_float, str: _parsed_decimal, **number},
        Kind.BOOLEAN: {bool: int, int: _flag, str: _parsed_flag},
        Kind.TEXT: {str: text, int: str, float: repr, decimal.Decimal: str, uuid.UUID: _uuid(column), enum.Enum: label},
        Kind.BYTES: {bytes: _same, bytearray: bytes, memoryview: bytes},
        Kind.DATE: {
            dt.datetime: shared.refuse("a datetime for a date; take its date()"),
            dt.date: str,
            str: _parsed(dt.date, str),
        },
        Kind.TIME: {dt.time: lambda value: value.isoformat("microseconds"), str: _parsed(dt.time, str)},
        Kind.TIMESTAMP: {dt.datetime: moment, str: _parsed(dt.datetime, moment)},
        Kind.JSON: {dict: json, list: json, tuple: json, str: text if plan.textual else json, int: json, float: json},
        Kind.UUID: {uuid.UUID: str, str: text},
        Kind.OTHER: {str: text, int: _integer, float: _real, bytes: _same, decimal.Decimal: str, bool: int},
    }
    return by_kind[column.kind]


def encoders(plan: Plan, column: Column) -> shared.Table:
    """The encoders of one column: exact type of a value → the parameter to bind."""
    known = _known(plan, column)
    if column.kind is Kind.JSON:
        known[bool] = shared.json_text
    known[type(None)] = shared.none_encoder(plan, column, None)
    return shared.Table(column, known)
