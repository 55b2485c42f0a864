"""Log lines about what clients do: enough to know of it, never as many as there are clients."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

EVERY: float = 10.0
"""Seconds between two lines of a kind."""


class Noted:
    """Logs the first event of a kind, and then at most one every `EVERY` seconds, with the number of the others.

    Args:
        log: where to.
        now: a monotonic clock, seconds.
    """

    def __init__(self, log: logging.Logger, now: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._now = now
        self._kinds: dict[str, tuple[float, int]] = {}

    def warn(self, kind: str, text: str, *values: object) -> None:
        """Log it, unless its kind was logged a moment ago.

        Args:
            kind: a short word; there must be few of them.
            text: the line, with places for `values`.
        """
        now = self._now()
        at, unsaid = self._kinds.get(kind, (-EVERY, 0))
        if now - at < EVERY:
            self._kinds[kind] = (at, unsaid + 1)
            return
        self._kinds[kind] = (now, 0)
        self._log.warning(text + (f" (and {unsaid} more since the last such line)" if unsaid else ""), *values)
