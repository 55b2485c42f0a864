"""Signals as bytes to be read: a handler only queues, the loop acts."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from typing import Final

_WATCHED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

_LOOKS: Final = 5
_BETWEEN_LOOKS: Final = 0.02
"""Seconds."""


class SignalQueue:
    """The signals that came, in order; `readable` wakes a selector. To be made in the main thread."""

    def __init__(self) -> None:
        self.readable, self._writable = socket.socketpair()
        self.readable.setblocking(False)
        self._writable.setblocking(False)
        self._had_terminal = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and _has_terminal()
        self._before = {number: signal.signal(number, _queued) for number in _WATCHED}
        self._wakeup_before = signal.set_wakeup_fd(self._writable.fileno(), warn_on_full_buffer=False)

    def take(self) -> list[signal.Signals]:
        """The signals since the last call."""
        with contextlib.suppress(BlockingIOError):
            return [signal.Signals(number) for number in self.readable.recv(4096)]
        return []

    def terminal_is_gone(self) -> bool:
        """Whether a SIGHUP means that the terminal was closed, and not that somebody wants a reload."""
        if not self._had_terminal:
            return False
        # The signal may come a moment before the terminal is taken away.
        for _ in range(_LOOKS):
            if not _has_terminal():
                return True
            time.sleep(_BETWEEN_LOOKS)
        return False

    def close(self) -> None:
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self.readable.close()
        self._writable.close()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _queued(_number: int, _frame: object) -> None:
    """The wakeup descriptor has taken the signal down already."""
