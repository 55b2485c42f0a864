"""What was freed is given back: shown on a process of its own, since the allocator is the process's."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys
from pathlib import Path
from headgate.supervisor.memory import give_back_early

def held():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_Dirty"))

if sys.argv[1] == "early":
    assert give_back_early()
large = bytearray(16 << 20)  # freeing a mapped block is what raises the thresholds
del large
before = held()
burst = [bytes(100_000) for _ in range(200)]
burst.clear()
print(held() - before)
"""


def kept(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's thresholds")
def test_a_burst_of_large_messages_is_not_kept() -> None:
    assert kept("early") < 1_000_000
    assert kept("as it is") > 10_000_000, "otherwise there is nothing to do here"
