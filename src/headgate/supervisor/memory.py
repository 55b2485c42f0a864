"""Memory that is freed goes back to the system, in processes that pass large messages on and then are idle.

glibc raises its own thresholds when large blocks are freed (mallopt(3), "dynamic mmap threshold"): after a burst of
large messages it keeps megabytes at the top of the heap for the next one. Setting the thresholds, to the values
that they begin with, ends that.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from typing import Final

M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
KEPT: Final = 128 * 1024
"""Bytes: free memory at the top of the heap that is kept, and the size from which a block is mapped on its own."""


def give_back_early() -> bool:
    """Hold the allocator to its first thresholds; False where it is not glibc's."""
    if not sys.platform.startswith("linux"):
        return False
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        return bool(mallopt(M_MMAP_THRESHOLD, KEPT) and mallopt(M_TRIM_THRESHOLD, KEPT))
    return False
