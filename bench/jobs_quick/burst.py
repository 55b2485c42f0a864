"""Puts many jobs that do nothing at once, and prints how many of them end per second: `python burst.py COUNT`."""

from __future__ import annotations

import json
import sys
import time

from app import nothing


def main() -> None:
    """Print `{"rate": jobs per second}`, from the first enqueue to the result of the last."""
    count = int(sys.argv[1])
    nothing.enqueue().wait(timeout=30)
    began = time.perf_counter()
    handles = nothing.enqueue_many([[]] * count)
    for handle in (*handles[:: max(1, count // 20)], *handles[-200:]):
        handle.wait(timeout=120)
    print(json.dumps({"rate": count / (time.perf_counter() - began)}))


if __name__ == "__main__":
    main()
