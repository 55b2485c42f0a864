"""Python values for SQLAlchemy's own types: they convert, and what they would let through unfit is refused here."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
import uuid
from collections.abc import Callable
from typing import Any, Final

from headgate.bulk import values as shared
from headgate.bulk.failures import BadValue
from headgate.bulk.model import Column, Encoder, Kind, Plan

_FITS: Final[dict[Kind, tuple[type, ...]]] = {
    Kind.INTEGER: (int,),
    Kind.FLOAT: (float, int, decimal.Decimal),
    Kind.DECIMAL: (decimal.Decimal, int, float),
    Kind.BOOLEAN: (bool,),
    Kind.TEXT: (str,),
    Kind.BYTES: (bytes, bytearray, memoryview),
    Kind.DATE: (dt.date,),
    Kind.TIME: (dt.time,),
    Kind.TIMESTAMP: (dt.datetime,),
    Kind.UUID: (uuid.UUID,),
}


def _boolean(value: str) -> bool:
    return {"t": True, "true": True, "1": True, "f": False, "false": False, "0": False}[value.strip().lower()]


_PARSES: Final[dict[Kind, Callable[[str], Any]]] = {
    Kind.INTEGER: int,
    Kind.FLOAT: float,
    Kind.DECIMAL: decimal.Decimal,
    Kind.BOOLEAN: _boolean,
    Kind.DATE: dt.date.fromisoformat,
    Kind.TIME: dt.time.fromisoformat,
    Kind.TIMESTAMP: dt.datetime.fromisoformat,
    Kind.UUID: uuid.UUID,
}


class Checked(shared.Table):
    """The encoders of one column: text is parsed, everything else goes to SQLAlchemy as it is."""

    def __init__(self, plan: Plan, column: Column) -> None:
        super().__init__(column, {type(None): shared.none_encoder(plan, column, None)})
        self._plan = plan

    def __missing__(self, kind: type) -> Encoder:
        wanted = _FITS.get(self._column.kind)
        found: Encoder
        if issubclass(kind, str) and wanted is not None and str not in wanted:
            found = self._parsed
        elif self._column.kind is Kind.TEXT and issubclass(kind, uuid.UUID):
            # SQLAlchemy declares a portable UUID as CHAR(32) and stores its bare digits
            found = _digits if self._column.type.upper() == "CHAR(32)" else str
        elif self._column.kind is Kind.INTEGER and issubclass(kind, float | decimal.Decimal):
            found = shared.whole
        elif wanted is not None and (not issubclass(kind, wanted) or (kind is bool and bool not in wanted)):
            raise BadValue(f"a {kind.__name__} does not fit {self._column.type}")
        else:
            found = self._encoder(kind)
        self[kind] = found
        return found

    def _encoder(self, kind: type) -> Encoder:
        if self._column.kind is Kind.JSON:
            return self._json
        if issubclass(kind, dt.datetime):
            if self._column.kind is Kind.DATE:
                raise BadValue("a datetime for a date; take its date()")
            return lambda value: shared.naive(self._plan, value)
        if issubclass(kind, float | decimal.Decimal):
            return _finite
        return lambda value: value

    def _json(self, value: Any) -> Any:
        if self._plan.textual and isinstance(value, str):
            return json.loads(value)
        shared.json_text(value)
        return value

    def _parsed(self, value: str) -> Any:
        try:
            plain = _PARSES[self._column.kind](value)
        except (ValueError, KeyError, ArithmeticError):
            raise BadValue(f"{value!r} does not fit {self._column.type}") from None
        return self[type(plain)](plain)


def _digits(value: uuid.UUID) -> str:
    return value.hex


def _finite(value: Any) -> Any:
    if not math.isfinite(value):
        raise BadValue(f"{value} is no number for this database")
    return value
