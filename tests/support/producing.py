"""A producer in a process of its own, for tests that kill it: to the broker it is what an app worker is.

    python -m tests.support.producing FOLDER NAME SEED

Writes a line `<line> <job id>` to FOLDER/acknowledged-NAME for each job that was accepted, until it is killed.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

from headgate.base.errors import HeadgateError
from headgate.drivers.bridge import Bridge
from headgate.drivers.embedded.client import EmbeddedEngine
from tests.support.contract import packed_call


def main(folder: Path, name: str, seed: str) -> None:
    """Put jobs for ever."""
    chance = random.Random(seed)
    bridge = Bridge(EmbeddedEngine(folder / "data" / "run" / "broker.sock"))
    bridge.open()
    with (folder / f"acknowledged-{name}").open("a") as told:
        count = 0
        while True:
            line = f"{name}-{os.getpid()}-{count}"
            count += 1
            job = packed_call("jobsapp:write", line, round(chance.expovariate(40), 3))
            try:
                [receipt] = bridge.put([job])
            except HeadgateError:
                continue
            told.write(f"{line} {receipt.id}\n")
            told.flush()
            time.sleep(chance.uniform(0, 0.2))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
