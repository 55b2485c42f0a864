"""Which handlers are quick: so short, and so rarely waiting, that running them one after another is the fastest way.

Threads that compute by turns pay for each turn with a hand-over of the interpreter, which costs more than a short
handler itself. What is estimated is how long a handler usually takes and waits when nothing disturbs it: a machine
under load disturbs many runs, so a shorter run counts for much and a longer one for little.
"""

from __future__ import annotations

from typing import Final

QUICK: Final = 0.001
"""Seconds that a quick handler takes at most."""
WAIT: Final = 0.00015
"""Seconds of waiting that do not matter; beyond them a handler must compute longer than it waits."""
DOWN: Final = 0.3
"""Weight of a run that is shorter than the estimate."""
UP: Final = 0.02
"""Weight of a longer one: a handler that waits in one run of ten stays quick, in one of two it does not."""
FIRST: Final = 8
"""Runs that are measured before anything is said."""
PROBE: Final = 64
"""One run in this many of a handler that is not quick is measured again."""
HANDLERS: Final = 2000


class _Known:
    """What is known of one handler."""

    __slots__ = ("count", "run", "since", "waited")

    def __init__(self, run: float, waited: float) -> None:
        self.run = run
        self.waited = waited
        self.count = 1
        self.since = 0
        """Runs since it was last measured, while it is not quick."""

    def add(self, run: float, waited: float) -> None:
        self.count += 1
        if self.count <= FIRST:  # the first runs load modules and fill caches: the best of them tells
            self.run, self.waited = min(self.run, run), min(self.waited, waited)
        else:
            self.run = _nearer(self.run, run)
            self.waited = _nearer(self.waited, waited)

    def quick(self) -> bool:
        if self.count < FIRST or (self.run < QUICK and (self.waited < WAIT or self.waited < self.run / 2)):
            return True
        self.since += 1
        if self.since < PROBE:
            return False
        self.since = 0
        return True


def _nearer(estimate: float, seen: float) -> float:
    return estimate + (DOWN if seen < estimate else UP) * (seen - estimate)


class Pace:
    """What is known of the handlers of this process."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def quick(self, handler: str) -> bool:
        """Whether to run it in line; also one that is hardly known, and now and then one that is not quick."""
        known = self._known.get(handler)
        return known is None or known.quick()

    def measured(self, handler: str, run: float, cpu: float) -> None:
        """A run took `run` seconds, of which it computed for `cpu`."""
        known = self._known.get(handler)
        if known is not None:
            known.add(run, max(0.0, run - cpu))
        elif len(self._known) < HANDLERS:
            self._known[handler] = _Known(run, max(0.0, run - cpu))
