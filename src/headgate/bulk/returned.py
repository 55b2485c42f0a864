"""Where RETURNING goes: to a function of the caller's, a chunk at a time, after its commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from headgate.bulk.errors import WrongTarget

Receive = Callable[[Sequence[tuple[Any, ...]]], object]


class Returned:
    """Args: `receive` gets lists of tuples, for example `ids.extend`."""

    def __init__(self, receive: Receive | None, columns: Sequence[str]) -> None:
        if bool(columns) != (receive is not None):
            raise WrongTarget("returning= names the columns and returned= takes their rows: give both or neither")
        self._receive = receive

    def give(self, rows: Sequence[tuple[Any, ...]]) -> None:
        if self._receive is not None and rows:
            self._receive(rows)
