"""One producer process: enqueues one job after the other for a while, and prints the time that each took.

`python producer.py SECONDS`, with HEADGATE_DATA naming the data folder; it starts when a line comes on stdin, so that
several producers start together.
"""

from __future__ import annotations

import json
import sys
import time

from app import parked

TEXT = "x" * 200


def main() -> None:
    """Enqueue for the given seconds; print `{"times": [seconds, …], "span": seconds}`."""
    seconds = float(sys.argv[1])
    for number in range(20):  # connects, and fills the caches
        parked.enqueue(number, TEXT)
    print("ready", flush=True)
    sys.stdin.readline()
    times: list[float] = []
    start = now = time.perf_counter()
    while now - start < seconds:
        before = now
        parked.enqueue(len(times), TEXT)
        now = time.perf_counter()
        times.append(now - before)
    print(json.dumps({"times": times, "span": now - start}))


if __name__ == "__main__":
    main()
