"""How an engine tells the writer what became of a chunk: three exceptions that never leave `bulk`."""

from __future__ import annotations


class BadValue(Exception):
    """A value cannot be written to its column; raised by encoders, before the database is asked."""

    def __init__(self, reason: str, column: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.column = column


class Refused(Exception):
    """The database refused the chunk because of what is in it.

    Args:
        reason: the database's words.
        column: the column at fault, if it told.
        index: the row at fault within the chunk, from 0, if it told; else the writer bisects.
    """

    def __init__(self, reason: str, column: str | None = None, index: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.column = column
        self.index = index


class TryAgain(Exception):
    """Nothing is wrong with the rows: the same chunk may pass later.

    Args:
        reason: what stood in the way.
        lost: the connection broke, so whether the chunk was committed is told only by the checkpoint.
        smaller: a smaller chunk has a better chance (a lock or statement took too long).
    """

    def __init__(self, reason: str, *, lost: bool = False, smaller: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.lost = lost
        self.smaller = smaller
