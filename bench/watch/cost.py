"""The cost of a detector: CPU time per message with it and without it.

A machine's speed changes from one moment to the next by more than a detector costs. So two servers are served a few
messages each in turn, and only what the one needs beside the other counts. The watch is turned on and off in one of
the two; a peer's detector is on all the time.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.peers import ROOT, Peer
from bench.watch.echo import END, OFF, ON, loops_for
from headgate.watch.carry import environment
from tests.support.process import Process
from tests.support.wait import until

OURS = "ours"
BATCH = 0.6
"""Seconds of both servers: several looks of the watchdog fall into each batch."""
SETTLED = 0.2
"""Seconds that a watch has to begin in: its first looks open files and meet code that nobody has run yet."""
TURN = 0.004
"""Seconds for which one server is served before it is the other's turn."""
TRIAL = 200


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
        env["TMPDIR"] = str(folder)
        env["PYTHONPATH"] = os.pathsep.join(given).strip(os.pathsep)
        command = [peer.program("python"), "-m", "bench.watch.echo", kind, detector, str(loops), str(path)]
        self.process = Process(path.stem, command, folder, env=env, cwd=ROOT)
        self.process.wait_ready(path.exists, 60)
        self._path = str(path)

    @contextlib.contextmanager
    def connected(self) -> Iterator[socket.socket]:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        until(lambda: client.connect_ex(self._path) == 0, "the echo server")
        with client:
            yield client

    def turn(self, on: bool) -> None:
        """Turn the watch on or off."""
        with self.connected() as client:
            client.sendall(ON if on else OFF)
            client.recv(4096)

    def serve(self, count: int) -> float:
        """Let it answer so many messages; returns seconds."""
        with self.connected() as client:
            since = time.monotonic()
            _send(client, count)
            return time.monotonic() - since

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
    loops = loops_for(micros)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hg-watch-", dir="/tmp")))
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
    """Measure a detector; `pairs` batches with it and as many without."""
    with servers(peer, kind, micros, "", detector) as (plain, other), apart(plain, other):
        plain.serve(TRIAL), other.serve(TRIAL)
        size = max(1, int(TURN / plain.serve(TRIAL) * TRIAL))
        shares, costs = [], []
        for number in range(pairs):
            found = {}
            for on in (number % 2 == 0, number % 2 == 1):
                if detector == OURS:
                    other.turn(on)
                    side_by_side(other, plain, size, SETTLED)
                mine, reference = side_by_side(other, plain, size)
                found[on] = mine / reference
                costs.append(reference)
            shares.append(found[True] / found[False] - 1 if detector == OURS else sum(found.values()) / 2 - 1)
        return Cost(median(costs), median(shares), _error(shares), pairs)


def side_by_side(one: Server, two: Server, size: int, seconds: float = BATCH) -> tuple[float, float]:
    """µs of CPU per message of two servers that are served `size` messages each in turn."""
    turns = max(1, int(seconds / TURN / 2))
    with one.connected() as first, two.connected() as second:
        for number in range(turns):
            for client in (first, second) if number % 2 else (second, first):
                _send(client, size)
        return _used(first) / size / turns, _used(second) / size / turns


def _send(client: socket.socket, count: int) -> None:
    for _ in range(count):
        client.sendall(b"hello\n")
        client.recv(4096)


def _used(client: socket.socket) -> float:
    """µs of CPU that the server says it has used for this connection."""
    client.sendall(END)
    return int(client.recv(4096)) / 1000


def _error(shares: list[float]) -> float:
    ranked, half = sorted(shares), 0.98 * len(shares) ** 0.5
    low, high = int(len(ranked) / 2 - half), int(len(ranked) / 2 + half)
    return (ranked[min(high, len(ranked) - 1)] - ranked[max(low, 0)]) / 2


def at_rest(peer: Peer, kind: str, seconds: float) -> tuple[float, float]:
    """What the watch takes of a process with nothing to do: share of one CPU, and MB of memory."""
    with servers(peer, kind, 0, "", "", watched=True) as (plain, other):
        plain.serve(TRIAL), other.serve(TRIAL)
        before = [each.usage() for each in (plain, other)]
        time.sleep(seconds)
        after = [each.usage() for each in (plain, other)]
        cpu = [(last[0] - first[0]) / seconds for first, last in zip(before, after, strict=True)]
        return cpu[1] - cpu[0], (after[1][1] - after[0][1]) / 1e6
