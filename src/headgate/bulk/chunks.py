"""Reading a source into encoded chunks, bounded by rows and by bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from headgate.bulk.engine import Line
from headgate.bulk.failures import BadValue
from headgate.bulk.mark import Mark, check_same, digest
from headgate.bulk.model import Position, Reject
from headgate.bulk.rejects import values_of
from headgate.bulk.rows import Source, raise_short


@dataclass(slots=True)
class Chunk:
    """Rows `start` to `end` of the source (counted from 0, `end` excluded)."""

    start: int
    end: int
    lines: list[Line]
    """The rows that could be encoded."""
    numbers: Sequence[int]
    """Where each of them stands in the source."""
    rows: list[Any]
    """The same rows as they came, for the report if the database refuses one."""
    places: list[Any] = field(default_factory=list)
    bad: list[Reject] = field(default_factory=list)
    """The rows that could not be encoded."""

    def pos(self, high: int) -> int:
        """The source position after the first `high` lines (and the bad rows that follow them)."""
        return self.end if high == len(self.lines) else self.numbers[high]

    def line_at(self, number: int) -> Line | None:
        """The encoded row that stands at `number` in the source; None for a bad one."""
        if not self.bad:
            return self.lines[number - self.start]
        return self.lines[self.numbers.index(number)] if number in self.numbers else None

    def place_at(self, number: int) -> Any:
        return self.places[number - self.start] if self.places else None


class Chunks:
    """Cuts a source into chunks.

    Args:
        source: the rows.
        names: the columns to take from each.
        exact: refuse a row that gives other names than the first did.
        encode: makes a line and its size of a row's values.
        most_bytes: the greatest size of a chunk's lines.
        stop_at_bad: end the chunk before a bad row instead of collecting it.
    """

    def __init__(
        self,
        source: Source,
        names: Sequence[str],
        exact: bool,
        encode: Callable[[Sequence[Any]], tuple[Line, int]],
        most_bytes: int,
        stop_at_bad: bool,
    ) -> None:
        self._source = source
        self._names = names
        self._pick = source.picker(names, exact)
        self._encode = encode
        self._most_bytes = most_bytes
        self._stop_at_bad = stop_at_bad
        self._stream: Iterator[Any] = iter(())
        self._seeks = False
        self._pos = 0
        self.first = ""
        """The digest of the source's first row."""
        self.obstacle: Reject | None = None
        """The bad row that ended the last chunk, when `stop_at_bad`."""

    def start(self, position: Position, mark: Mark) -> None:
        """Go to where the checkpoint stands, and check that the source is the one it was made with.

        Raises:
            SourceChanged
        """
        self._pos = position.pos
        self.first = mark.first
        if not position.pos:
            self._stream = self._source.rows()
        else:
            self._source.skip(position.pos - 1, mark.place)
            self._stream = self._source.rows()
            self._check(position, mark)

    def _check(self, position: Position, mark: Mark) -> None:
        for row in self._stream:
            check_same(mark.last, self._line(row), position.pos, position.name)
            return
        raise_short(position.pos, position.pos - 1)

    def _line(self, row: Any) -> Line | None:
        try:
            return self._encode(self._pick(row))[0]
        except BadValue:
            return None

    def read(self, most_rows: int) -> Chunk | None:
        """The next chunk, or None at the end of the source or at an obstacle."""
        if self.obstacle is not None:
            return None
        chunk = Chunk(self._pos, self._pos, [], (), [])
        numbers: list[int] = []
        size = 0
        for row in islice(self._stream, most_rows):
            place = self._source.place()
            if place is not None:
                chunk.places.append(place)
            try:
                line, length = self._encode(self._pick(row))
            except BadValue as bad:
                if self._refuse(chunk, row, bad):
                    break
                continue
            numbers.append(self._pos)
            self._pos += 1
            chunk.lines.append(line)
            chunk.rows.append(row)
            size += length
            if size >= self._most_bytes:
                break
        chunk.numbers = numbers
        chunk.end = self._pos
        if chunk.start == 0 and chunk.end:
            self.first = digest(chunk.line_at(0))
        return chunk if chunk.end > chunk.start else None

    def _refuse(self, chunk: Chunk, row: Any, bad: BadValue) -> bool:
        """Note a bad row; True when the chunk ends before it."""
        reject = Reject(self._pos + 1, bad.column, bad.reason, values_of(self._names, row))
        if self._stop_at_bad:
            self.obstacle = reject
            return True
        chunk.bad.append(reject)
        self._pos += 1
        return False

    def reject(self, chunk: Chunk, index: int, column: str | None, reason: str) -> Reject:
        """The report of a line that the database refused."""
        return Reject(chunk.numbers[index] + 1, column, reason, values_of(self._names, chunk.rows[index]))
