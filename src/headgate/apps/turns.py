"""Turns: what a loop handler does between two calls of `receive`, measured and, when slow, let in a few at a time.

A loop's thread cannot be moved to another lane in the middle. So the wall between the lanes stands at `receive`: a
message whose event is not known to be fast is given to its loop only when one of a few slots is free. Three
hundred loops whose turns are light then share the interpreter with two heavy turns, not with dozens.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

LENT_AFTER: Final = 10.0
"""Seconds after which a slot is taken back from a turn: it may be one that never calls `receive` again."""


class Slot:
    """One heavy turn's place."""

    __slots__ = ("lent", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.lent = False


class TurnGate:
    """Lets `slots` turns in at once, in the order of their coming.

    Args:
        slots: heavy turns at once.
        clock: seconds that never step back.
    """

    def __init__(self, slots: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._slots = slots
        self._clock = clock
        self._lock = threading.Lock()
        self._held: set[Slot] = set()
        self._promised = 0  # slots given to turns whose threads have not woken up yet
        self._queue: deque[threading.Lock] = deque()

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def held(self) -> int:
        return len(self._held)

    def enter(self) -> Slot:
        """Wait for a slot."""
        with self._lock:
            if len(self._held) + self._promised < self._slots and not self._queue:
                return self._take()
            turn = threading.Lock()
            turn.acquire()
            self._queue.append(turn)
        turn.acquire()  # released by `_admit`, which has made room
        with self._lock:
            return self._take_promised()

    def leave(self, slot: Slot) -> None:
        """The turn is over."""
        with self._lock:
            self._held.discard(slot)
            self._admit()

    def lend(self) -> None:
        """Take slots back from turns that have held theirs for very long; called now and then."""
        if not self._queue:
            return
        with self._lock:
            late = self._clock() - LENT_AFTER
            for slot in [slot for slot in self._held if slot.since < late]:
                slot.lent = True
                self._held.discard(slot)
            self._admit()

    def _take(self) -> Slot:
        slot = Slot(self._clock())
        self._held.add(slot)
        return slot

    def _take_promised(self) -> Slot:
        self._promised -= 1
        return self._take()

    def _admit(self) -> None:
        while self._queue and len(self._held) + self._promised < self._slots:
            self._promised += 1
            self._queue.popleft().release()
