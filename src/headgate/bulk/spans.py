"""Finding the rows at fault in a chunk that failed: pure bisection, in the order of the rows."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Spans:
    """The parts of a chunk that are still to be tried, in order; parts before them are committed.

    Args:
        length: rows of the chunk.
    """

    length: int
    _todo: list[tuple[int, int]] = field(init=False)

    def __post_init__(self) -> None:
        self._todo = [(0, self.length)] if self.length else []

    def current(self) -> tuple[int, int] | None:
        """The span to try next, or None when all rows are dealt with."""
        return self._todo[-1] if self._todo else None

    def landed(self) -> None:
        """The current span is committed."""
        self._todo.pop()

    def failed(self, culprit: int | None = None) -> int | None:
        """The current span was refused.

        Args:
            culprit: the row at fault, counted within the span, if the database told.

        Returns:
            The row (counted within the chunk) that is refused for good, or None while the search goes on.
        """
        low, high = self._todo.pop()
        if high - low == 1:
            return low
        if culprit is not None and low <= low + culprit < high:
            bad = low + culprit
            self._push(bad + 1, high)
            self._push(bad, bad + 1)
            self._push(low, bad)
            return None
        middle = (low + high) // 2
        self._push(middle, high)
        self._push(low, middle)
        return None

    def smaller(self) -> None:
        """The current span was too much for the timeouts, not wrong: try it in halves."""
        low, high = self._todo.pop()
        middle = (low + high) // 2 if high - low > 1 else high
        self._push(middle, high)
        self._push(low, middle)

    def _push(self, low: int, high: int) -> None:
        if high > low:
            self._todo.append((low, high))
