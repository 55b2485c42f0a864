"""The port between the writer and one database: seven calls, each of which is whole or did nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from headgate.bulk.model import Advance, Merged, Plan, Politeness, Position, Table

Line = Any
"""A row as the engine wants it: text for COPY, a tuple for a driver's own parameters."""


class Database(Protocol):
    """One bulk write on one database, over connections of its own.

    `stage`, `merge` and `claim` raise `Refused` (the rows), `TryAgain` (anything that passes) or `LeaseLost`
    (a newer writer of the same name); after either of them the lane is clean again.
    """

    overlaps: bool
    """Whether lane 1 can be staged while lane 0 merges in another thread."""

    def describe(self, schema: str | None, name: str) -> Table:
        """The table's real shape. Raises `WrongTarget`."""

    def prepare(self, plan: Plan, politeness: Politeness) -> None:
        """Make the statements of this write."""

    def claim(self, name: str, fence: int) -> Position:
        """Take the checkpoint over, or make it."""

    def position(self, name: str) -> Position:
        """Read the checkpoint, over new connections where the old ones broke."""

    def encoder(self) -> Callable[[Sequence[Any]], tuple[Line, int]]:
        """An encoder of a row's values to a line and its size in bytes; it raises `BadValue`."""

    def stage(self, lane: int, lines: Sequence[Line]) -> None:
        """Bring the rows near the table; takes no lock that others feel."""

    def merge(self, lane: int, advance: Advance) -> Merged:
        """Apply what the lane holds and move the checkpoint, in one transaction."""

    def discard(self, lane: int) -> None:
        """Forget what the lane holds."""

    def finish(self, position: Position, keep: bool) -> None:
        """Mark the write as done (or forget it), durably with all that was committed before."""

    def close(self) -> None:
        """Close the connections."""
