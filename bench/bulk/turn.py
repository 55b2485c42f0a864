"""One measured turn in a process of its own: time, and how much the process grew."""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PAGE = os.sysconf("SC_PAGE_SIZE")


class Growth:
    """Samples the resident memory each 5 ms; `peak` is the growth in bytes since the start."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self._begin = resident()
        self.peak = 0
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while not self._done.wait(0.005):
            self.peak = max(self.peak, resident() - self._begin)

    def stop(self) -> int:
        self._done.set()
        self._thread.join()
        return max(self.peak, resident() - self._begin)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def play(work: Callable[[], Any]) -> None:
    """Run the work and print what it took as JSON."""
    growth = Growth()
    cpu = time.process_time()
    began = time.perf_counter()
    told = work()
    seconds = time.perf_counter() - began
    answer = {"seconds": seconds, "cpu": time.process_time() - cpu, "growth": growth.stop(), "told": told}
    answer["maxrss"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    json.dump(answer, sys.stdout)
