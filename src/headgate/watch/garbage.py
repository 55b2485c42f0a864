"""Garbage collections, stamped: nothing else can tell them, since a collection keeps the interpreter lock."""

from __future__ import annotations

import gc
from collections import deque
from typing import Any, Final

from headgate.watch.native import MS, clock

SHORTEST: Final = 5 * MS


class Collections:
    """Notes the long collections of this process."""

    def __init__(self) -> None:
        self.recent: deque[tuple[int, int]] = deque(maxlen=256)
        self._begun = 0

    def install(self) -> None:
        """Begin to note; may be called again."""
        if self.__call__ not in gc.callbacks:
            gc.callbacks.append(self.__call__)

    def remove(self) -> None:
        """Note no more."""
        if self.__call__ in gc.callbacks:
            gc.callbacks.remove(self.__call__)

    def __call__(self, phase: str, info: dict[str, Any]) -> None:
        if not info["generation"]:  # the youngest are many and short
            return
        if phase == "start":
            self._begun = clock()
        elif self._begun:
            now = clock()
            if now - self._begun >= SHORTEST:
                self.recent.append((self._begun, now))
            self._begun = 0

    def within(self, begin: int, end: int) -> int:
        """How much of a stretch went to collections, ns."""
        return sum(max(0, min(end, last) - max(begin, first)) for first, last in list(self.recent))
