"""Another client of the same table: one point update after the other, at a fixed rate, timed from when each was due."""

from __future__ import annotations

import threading
import time

import psycopg

RATE = 100.0


class Neighbour:
    """Updates one row at a time in a thread; `latencies` in seconds."""

    def __init__(self, url: str, keys: int) -> None:
        self.latencies: list[float] = []
        self._url = url
        self._keys = keys
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            due, number = time.perf_counter(), 0
            while not self._done.wait(max(0.0, due - time.perf_counter())):
                key = number * 7919 % self._keys * 2
                connection.execute("UPDATE items SET stock = stock + 1 WHERE id = %s", (key,))
                self.latencies.append(time.perf_counter() - due)
                number += 1
                due += 1 / RATE

    def stop(self) -> list[float]:
        """The latencies, sorted."""
        self._done.set()
        self._thread.join()
        return sorted(self.latencies)


def percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
