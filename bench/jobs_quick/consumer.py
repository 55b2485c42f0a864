"""Enqueues single jobs on an idle engine and prints, for each, the seconds to its first line and to its result."""

from __future__ import annotations

import json
import sys
import time

from app import first_line

GAP = 0.02
"""Seconds between two jobs: the engine is idle again."""


def main() -> None:
    """Print `{"first": [seconds, …], "result": [seconds, …]}` for as many jobs as the argument says."""
    found: dict[str, list[float]] = {"first": [], "result": []}
    for number in range(int(sys.argv[1]) + 10):
        sent = time.time()
        first = first_line.enqueue(sent).wait(timeout=30)
        if number >= 10:  # the first ones connect and import
            found["first"].append(first)
            found["result"].append(time.time() - sent)
        time.sleep(GAP)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
