"""The real threads, clocks and writes, taken before eventlet or gevent put green ones in their places.

A watchdog that slept in a green `time.sleep` would be stopped by the very stall that it is there to see.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import select
import time
from typing import Final

clock: Final = time.monotonic_ns
"""Nanoseconds on CLOCK_MONOTONIC: the same in all processes of a machine."""
moment: Final = time.monotonic
"""Seconds on the same clock, for stamps: a float takes less time to make, to compare and to store."""
wall: Final = time.time
sleep: Final = time.sleep
start_thread: Final = _thread.start_new_thread
allocate_lock: Final = _thread.allocate_lock
get_ident: Final = _thread.get_ident
get_native_id: Final = _thread.get_native_id
write: Final = os.write
read_at: Final = getattr(os, "pread", None)
getpid: Final = os.getpid
open_file: Final = os.open
duplicate: Final = os.dup
close_file: Final = os.close
epoll: Final = getattr(select, "epoll", None)

MS: Final = 1_000_000
"""Nanoseconds in a millisecond."""
SECOND: Final = 1_000_000_000


def nanoseconds(stamp: float) -> int:
    """A moment as `clock` has it."""
    return int(stamp * 1e9)


def say(text: str) -> None:
    """A line on standard error, without `logging`, whose locks may be green; never raises."""
    with contextlib.suppress(OSError):
        write(2, (text + "\n").encode("utf-8", "replace"))
