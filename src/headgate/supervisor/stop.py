"""The order to stop as a child sees it: awaited in asyncio, or called back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable


class Stop:
    """An order to stop with a deadline. Given from any thread; a second one can only shorten the time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: float | None = None
        self._callbacks: list[Callable[[float], None]] = []

    def is_set(self) -> bool:
        return self._until is not None

    @property
    def remaining(self) -> float:
        """Seconds left for finishing; infinite as long as there is no order."""
        return float("inf") if self._until is None else max(0.0, self._until - time.monotonic())

    def order(self, seconds: float) -> None:
        """Give the order."""
        with self._lock:
            until = time.monotonic() + seconds
            first = self._until is None
            self._until = until if self._until is None else min(self._until, until)
            callbacks, self._callbacks = (self._callbacks, []) if first else ([], self._callbacks)
        for callback in callbacks:
            callback(self.remaining)

    def add(self, callback: Callable[[float], None]) -> None:
        """Call `callback(seconds left)` once, on the thread that brings the order; at once if it was given."""
        with self._lock:
            if self._until is None:
                self._callbacks.append(callback)
                return
        callback(self.remaining)

    def remove(self, callback: Callable[[float], None]) -> None:
        """Forget a callback that was added, if it is still to be called."""
        with self._lock:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

    async def wait(self) -> float:
        """Wait for the order; returns the seconds that remain for finishing."""
        loop = asyncio.get_running_loop()
        ordered = asyncio.Event()

        def wake(_: float) -> None:
            loop.call_soon_threadsafe(ordered.set)

        self.add(wake)
        try:
            await ordered.wait()
        finally:
            self.remove(wake)
        return self.remaining
