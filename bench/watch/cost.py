"""The cost of a detector: CPU time per message with it and without it, turn and turn about.

The watch is turned on and off in one process. A peer's detector runs in a process of its own beside one without it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.peers import ROOT, Peer
from bench.watch.echo import END, OFF, ON, loops_for
from headgate.watch.carry import environment
from tests.support.process import Process
from tests.support.wait import until

OURS = "ours"
BATCH = 0.3
"""Seconds: several looks of the watchdog fall into each batch."""
FEWEST = 200


@dataclass(frozen=True)
class Cost:
    """Of one detector on one kind of loop."""

    plain: float
    """µs of CPU per message without it."""
    share: float
    """What it adds, as a share of that: the median of the pairs."""
    error: float
    """Half of the interval that holds the true median with 95 % probability, by the order of the pairs."""
    pairs: int


class Server:
    """One echo server.

    Args:
        detector: "" for none; "ours" for one whose watch can be turned on and off.
        watched: it runs as under `headgate watch run`.
    """

    def __init__(self, peer: Peer, folder: Path, kind: str, detector: str, loops: int, *, watched: bool) -> None:
        path = folder / f"{kind}-{detector or watched}.sock"
        env = environment(folder, os.environ) if watched else dict(os.environ)
        given = [*env.get("PYTHONPATH", "").split(os.pathsep), str(ROOT), str(ROOT / "src")]
        env["PYTHONPATH"] = os.pathsep.join(given).strip(os.pathsep)
        command = [peer.program("python"), "-m", "bench.watch.echo", kind, detector, str(loops), str(path)]
        self.process = Process(path.stem, command, folder, env=env, cwd=ROOT)
        self.process.wait_ready(path.exists, 60)
        self._path = str(path)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        until(lambda: client.connect_ex(self._path) == 0, "the echo server")
        with client:
            yield client

    def turn(self, on: bool) -> None:
        """Turn the watch on or off."""
        with self._connected() as client:
            client.sendall(ON if on else OFF)
            client.recv(4096)

    def batch(self, count: int) -> float:
        """µs of CPU per message over so many messages."""
        with self._connected() as client:
            for _ in range(count):
                client.sendall(b"hello\n")
                client.recv(4096)
            client.sendall(END)
            return int(client.recv(4096)) / 1000 / count

    def usage(self) -> tuple[float, int]:
        """CPU seconds so far, and bytes of memory: its own, and its share of what it shares (PSS)."""
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        used = sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)
        rollup = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        pss = next(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))
        return used / 1e9, pss


@contextlib.contextmanager
def servers(peer: Peer, kind: str, micros: float, *detectors: str, watched: bool = False) -> Iterator[list[Server]]:
    """A server for each detector, all with as much Python for each message; with `watched` the last one is watched."""
    folder = Path(tempfile.mkdtemp(prefix="hg-watch-", dir="/tmp"))
    loops = loops_for(micros)
    with contextlib.ExitStack() as stack:
        made = []
        for number, detector in enumerate(detectors):
            last = number == len(detectors) - 1
            made.append(Server(peer, folder, kind, detector, loops, watched=watched and last))
            stack.callback(made[-1].process.kill)
        yield made


@contextlib.contextmanager
def apart(*served: Server) -> Iterator[None]:
    """Servers on one CPU, their client on another: what the system's scheduler chooses costs more than a detector."""
    mine = os.sched_getaffinity(0)
    theirs, *others = sorted(mine)
    for server in served:
        os.sched_setaffinity(server.process.pid, {theirs})
    os.sched_setaffinity(0, others or mine)
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)


def per_message(peer: Peer, kind: str, detector: str, micros: float, pairs: int) -> Cost:
    """Measure: pairs of batches, in alternating order."""
    with servers(peer, kind, micros, *([OURS] if detector == OURS else ["", detector])) as served, apart(*served):
        plain, other = served[0], served[-1]

        def measured(on: bool) -> float:
            if detector == OURS:
                plain.turn(on)
            return (other if on else plain).batch(count)

        count = _count(plain.batch)
        measured(False), measured(True)
        shares, costs = [], []
        for number in range(pairs):
            found = {on: measured(on) for on in (number % 2 == 0, number % 2 == 1)}
            shares.append(found[True] / found[False] - 1)
            costs.append(found[False])
        return Cost(median(costs), median(shares), _error(shares), pairs)


def _count(batch: Callable[[int], float]) -> int:
    """How many messages make a batch."""
    batch(FEWEST)
    since = time.monotonic()
    batch(FEWEST)
    return max(FEWEST, int(FEWEST * BATCH / (time.monotonic() - since)))


def _error(shares: list[float]) -> float:
    ranked, half = sorted(shares), 0.98 * len(shares) ** 0.5
    low, high = int(len(ranked) / 2 - half), int(len(ranked) / 2 + half)
    return (ranked[min(high, len(ranked) - 1)] - ranked[max(low, 0)]) / 2


def at_rest(peer: Peer, kind: str, seconds: float) -> tuple[float, float]:
    """What the watch takes of a process with nothing to do: share of one CPU, and MB of memory."""
    with servers(peer, kind, 0, "", "", watched=True) as (plain, other):
        plain.batch(50), other.batch(50)
        before = [each.usage() for each in (plain, other)]
        time.sleep(seconds)
        after = [each.usage() for each in (plain, other)]
        cpu = [(last[0] - first[0]) / seconds for first, last in zip(before, after, strict=True)]
        return cpu[1] - cpu[0], (after[1][1] - after[0][1]) / 1e6
