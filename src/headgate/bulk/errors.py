"""The errors of bulk writing and reading.

HeadgateError
 └─ BulkError
     ├─ WrongTarget       the table, its columns, the key or the database cannot be used as asked
     ├─ BadRow            a row was refused and no `rejects` was given, or too many were refused
     ├─ SourceChanged     a resumed write found other rows before its checkpoint than the first try did
     ├─ Stuck             the database refused the same chunk again and again (locks, lost connections)
     └─ PoolTimeout       no connection of the pool came free in time
ConfigError
 └─ PoolTooLarge          the pools of all processes together exceed what the server allows
LeaseLost                 (headgate.base.errors) a newer writer with the same name has taken over
"""

from __future__ import annotations

from headgate.base.errors import ConfigError, HeadgateError


class BulkError(HeadgateError):
    """Something about a bulk write or read."""


class WrongTarget(BulkError):
    """The table, its columns, its key or the database cannot be used as asked; nothing was written."""


class BadRow(BulkError):
    """A row was refused; the rows before it are committed, it and those after it are not.

    Args:
        message: what was refused and why.
        row: the row's number in the source, from 1.
        column: the column at fault, if known.
        reason: the database's or the encoder's own words.
    """

    def __init__(self, message: str, *, row: int, column: str | None, reason: str) -> None:
        super().__init__(message)
        self.row = row
        self.column = column
        self.reason = reason


class SourceChanged(BulkError):
    """A resumed write was given other rows than the try before it."""


class Stuck(BulkError):
    """The same chunk failed as often as the patience allows; what was committed stays committed."""


class PoolTimeout(BulkError):
    """All connections of the pool were in use for as long as its timeout."""


class PoolTooLarge(ConfigError):
    """The connections that all processes may open exceed what the server allows."""
