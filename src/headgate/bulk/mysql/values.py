"""Python values as text that MySQL and MariaDB read, by the real type of each column.

A value becomes text, bytes or None: what LOAD DATA and a multi-row INSERT can both be made of.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from typing import Any

from headgate.bulk import values as shared
from headgate.bulk.failures import BadValue
from headgate.bulk.model import Column, Encoder, Kind, Plan

Known = dict[type, Encoder]

KINDS = {
    "tinyint": Kind.INTEGER,
    "smallint": Kind.INTEGER,
    "mediumint": Kind.INTEGER,
    "int": Kind.INTEGER,
    "bigint": Kind.INTEGER,
    "year": Kind.INTEGER,
    "float": Kind.FLOAT,
    "double": Kind.FLOAT,
    "decimal": Kind.DECIMAL,
    "char": Kind.TEXT,
    "varchar": Kind.TEXT,
    "tinytext": Kind.TEXT,
    "text": Kind.TEXT,
    "mediumtext": Kind.TEXT,
    "longtext": Kind.TEXT,
    "binary": Kind.BYTES,
    "varbinary": Kind.BYTES,
    "tinyblob": Kind.BYTES,
    "blob": Kind.BYTES,
    "mediumblob": Kind.BYTES,
    "longblob": Kind.BYTES,
    "date": Kind.DATE,
    "time": Kind.TIME,
    "datetime": Kind.TIMESTAMP,
    "timestamp": Kind.TIMESTAMPTZ,
    "json": Kind.JSON,
    "uuid": Kind.UUID,
    "enum": Kind.ENUM,
}


def text(value: str) -> str:
    """Text as it is; a lone surrogate cannot be sent."""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise BadValue("the text holds a lone surrogate, which UTF-8 cannot carry") from None
    return value


def _number(value: str) -> str:
    try:
        return str(decimal.Decimal(value.strip()))
    except decimal.InvalidOperation:
        raise BadValue(f"{value!r} is no number") from None


def _decimal(value: decimal.Decimal) -> str:
    if not value.is_finite():
        raise BadValue(f"{value} is no number for this database")
    return str(value)


def _whole(value: float | decimal.Decimal) -> str:
    return str(shared.whole(value))


def _parsed_whole(value: str) -> str:
    try:
        return str(int(value))
    except ValueError:
        raise BadValue(f"{value!r} is no integer") from None


def _flag(value: str) -> str:
    found = {"t": "1", "true": "1", "1": "1", "f": "0", "false": "0", "0": "0"}.get(value.strip().lower())
    if found is None:
        raise BadValue(f"{value!r} is no boolean")
    return found


def _utc(plan: Plan, value: dt.datetime) -> str:
    """A moment as the session (whose zone is UTC) reads it."""
    return shared.aware(plan, value).astimezone(dt.UTC).replace(tzinfo=None).isoformat(" ")


def _parsed(convert: Encoder, kind: Any) -> Encoder:
    def encoder(value: str) -> Any:
        try:
            return convert(kind.fromisoformat(value.strip()))
        except ValueError as error:
            raise BadValue(str(error)) from None

    return encoder


def _span(value: dt.timedelta) -> str:
    total = value // dt.timedelta(microseconds=1)
    seconds, micro = divmod(abs(total), 1_000_000)
    return f"{'-' if total < 0 else ''}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}.{micro:06}"


def _enum(column: Column) -> Known:
    labels = frozenset(column.labels)

    def known(value: str) -> str:
        if value not in labels:
            raise BadValue(f"{value!r} is none of the labels {', '.join(column.labels)}")
        return value

    return {enum.Enum: shared.enum_label(column), str: known}


def _known(plan: Plan, column: Column) -> Known:
    label = shared.enum_label(column)
    not_bool: Known = {bool: shared.refuse("a boolean for a number")}
    json = shared.json_text
    digits: Encoder = (lambda value: value.hex) if column.type.lower() == "char(32)" else str
    by_kind: dict[Kind, Known] = {
        Kind.INTEGER: {int: str, float: _whole, decimal.Decimal: _whole, str: _parsed_whole, **not_bool},
        Kind.FLOAT: {float: shared.finite_float, int: str, decimal.Decimal: _decimal, str: _number, **not_bool},
        Kind.DECIMAL: {decimal.Decimal: _decimal, int: str, float: shared.finite_float, str: _number, **not_bool},
        Kind.BOOLEAN: {bool: lambda value: "1" if value else "0", int: str, str: _flag},
        Kind.TEXT: {str: text, int: str, float: repr, decimal.Decimal: str, uuid.UUID: digits, enum.Enum: label},
        Kind.BYTES: {bytes: bytes, bytearray: bytes, memoryview: bytes, uuid.UUID: lambda value: value.bytes},
        Kind.DATE: {
            dt.datetime: shared.refuse("a datetime for a date; take its date()"),
            dt.date: str,
            str: _parsed(str, dt.date),
        },
        Kind.TIME: {dt.time: str, dt.timedelta: _span, str: text},
        Kind.TIMESTAMP: {
            dt.datetime: lambda value: shared.naive(plan, value).isoformat(" "),
            str: _parsed(lambda value: shared.naive(plan, value).isoformat(" "), dt.datetime),
        },
        Kind.TIMESTAMPTZ: {
            dt.datetime: lambda value: _utc(plan, value),
            str: _parsed(lambda value: _utc(plan, value), dt.datetime),
        },
        Kind.JSON: {dict: json, list: json, tuple: json, bool: json, int: json, float: json},
        Kind.UUID: {uuid.UUID: str, str: text},
        Kind.OTHER: {str: text, int: str, float: shared.finite_float, bytes: bytes, decimal.Decimal: str},
    }
    return _enum(column) if column.kind is Kind.ENUM else by_kind[column.kind]


def encoders(plan: Plan, column: Column) -> shared.Table:
    """The encoders of one column: exact type of a value → text, bytes or None."""
    known = _known(plan, column)
    if column.kind is Kind.JSON:
        known[str] = text if plan.textual else shared.json_text
    known[type(None)] = shared.none_encoder(plan, column, None)
    return shared.Table(column, known)
