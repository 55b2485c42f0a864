"""Ties a child's life to its supervisor's: no child outlives a supervisor that was killed."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def die_with(supervisor: int) -> None:
    """Have the kernel kill this process when the supervisor dies, where the kernel can (Linux).

    The channel's end tells of it everywhere else, but only to a process whose threads still run.

    Args:
        supervisor: its process id; when it is no longer the parent, it died before the kernel was asked.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != supervisor:
        os._exit(1)


def leave_signals_to_supervisor() -> None:
    """Take the stop signals and do nothing: the supervisor says when to stop, and in which order.

    A terminal or a service manager signals all processes at once. They are handled, not ignored, since
    programs that the app starts would inherit an ignored signal.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _nothing)


def _nothing(_number: int, _frame: object) -> None:
    """A signal handler."""
