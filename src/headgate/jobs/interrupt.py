"""Raising an exception in the main thread while it runs a job, also while it is blocked in a system call.

A signal does it: it makes the call return (EINTR), Python runs the handler before it would resume the call
(PEP 475), and the handler raises. Where an event loop runs in the main thread its tasks are cancelled instead,
because an exception raised between two callbacks would be swallowed there. What neither reaches, C code that
never returns to Python, is left to the kill that follows the grace.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from headgate.base.errors import HeadgateError

SIGNAL: Final = getattr(signal, "SIGRTMIN", signal.SIGUSR2 - 7) + 7
"""A real-time signal where there are some: nobody else's habit."""


class Interrupts:
    """Belongs to the main thread; `send` may be called from any other."""

    def __init__(self) -> None:
        self._armed = False
        self._delivered = False
        self._error: HeadgateError | None = None
        self._main = threading.main_thread().ident

    def install(self) -> None:
        """Take the signal; must be called in the main thread."""
        signal.signal(SIGNAL, self._handle)

    @contextmanager
    def armed(self) -> Iterator[None]:
        """Within this block an interrupt is raised; one that comes outside of it is forgotten."""
        self._error = None
        self._delivered = False
        self._armed = True
        try:
            yield
        finally:
            self._armed = False

    @property
    def error(self) -> HeadgateError | None:
        """What this run of a job was interrupted with."""
        return self._error

    def send(self, error: HeadgateError) -> bool:
        """Raise `error` in the job that runs now; False if none does, or if it has been raised already.

        To be called again until it returns False: a signal that comes just before the main thread enters a
        blocking call does not end that call, and only the next one does.
        """
        if not self._armed or self._delivered or self._main is None:
            return False
        if self._error is None:
            self._error = error
        signal.pthread_kill(self._main, SIGNAL)
        return True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        error = self._error
        if not self._armed or self._delivered or error is None:
            return
        self._delivered = True
        loop = asyncio._get_running_loop()
        if loop is None:
            raise error
        loop.call_soon_threadsafe(_cancel_all, loop)


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()
