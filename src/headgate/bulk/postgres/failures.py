"""What a PostgreSQL error means for the chunk it ended."""

from __future__ import annotations

import re
from typing import Final

import psycopg
from psycopg import errors

from headgate.bulk.failures import Refused, TryAgain

_LINE: Final = re.compile(r"COPY \S+, line (\d+)(?:, column ([^:]+))?")
_KEY: Final = re.compile(r"Key \(([^)]*)\)=")

AGAIN: Final = (
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.TooManyConnections,
    errors.CannotConnectNow,
    errors.InsufficientResources,
)
SLOW: Final = (errors.LockNotAvailable, errors.QueryCanceled)
# Class 22 is data exceptions, 23 integrity constraints; the fence's division is caught before it gets here.
CONTENT: Final = (errors.DataError, errors.IntegrityError, errors.RaiseException)


def lost(error: psycopg.Error, connection: psycopg.Connection[object]) -> bool:
    """Whether the connection is gone, so that only the checkpoint knows what was committed."""
    return connection.broken or connection.closed or (error.sqlstate or "").startswith(("08", "57P"))


def translate(error: psycopg.Error, connection: psycopg.Connection[object]) -> Exception:
    """The writer's exception for the driver's; an error that neither rows nor patience can help stays as it is."""
    if lost(error, connection):
        return TryAgain(f"the connection was lost ({_words(error)})", lost=True)
    if isinstance(error, SLOW):
        return TryAgain(_words(error), smaller=True)
    if isinstance(error, AGAIN):
        return TryAgain(_words(error))
    if isinstance(error, CONTENT):
        return refused(error)
    return error


def refused(error: psycopg.Error) -> Refused:
    """The row and column, as far as the server tells them."""
    diagnosis = error.diag
    line = _LINE.search(diagnosis.context or "")
    key = _KEY.search(diagnosis.message_detail or "")
    column = diagnosis.column_name
    if column is None and line is not None:
        column = line.group(2)
    if column is None and key is not None:
        column = key.group(1).strip('"')
    return Refused(_words(error), column, int(line.group(1)) - 1 if line else None)


def _words(error: psycopg.Error) -> str:
    diagnosis = error.diag
    if diagnosis.message_primary is None:
        return " ".join(str(error).split()) or type(error).__name__
    return ": ".join(part for part in (diagnosis.message_primary, diagnosis.message_detail) if part)
