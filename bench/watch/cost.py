"""The cost of a detector: CPU time per message with it and without it, both servers running, turn and turn about."""

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
from bench.watch.echo import loops_for
from headgate.watch.carry import environment
from tests.support.process import Process
from tests.support.wait import until

BATCH = 2_000


@dataclass(frozen=True)
class Cost:
    """Of one detector on one kind of loop."""

    plain: float
    """µs of CPU per message without it."""
    share: float
    """What it adds, as a share of that: the median of the pairs."""
    pairs: int


class Server:
    """One echo server with its connection."""

    def __init__(self, peer: Peer, folder: Path, kind: str, detector: str, loops: int, *, watched: bool) -> None:
        path = folder / f"{kind}-{detector or watched}.sock"
        env = environment(folder, os.environ) if watched else dict(os.environ)
        env["PYTHONPATH"] = os.pathsep.join([*env.get("PYTHONPATH", "").split(os.pathsep), str(ROOT)]).strip(os.pathsep)
        command = [peer.program("python"), "-m", "bench.watch.echo", kind, detector, str(loops), str(path)]
        self.process = Process(path.stem, command, folder, env=env, cwd=ROOT)
        self.process.wait_ready(path.exists, 60)
        self._path = str(path)

    def batch(self, count: int) -> float:
        """µs of CPU per message over so many messages."""
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        until(lambda: client.connect_ex(self._path) == 0, "the echo server")
        with client:
            for _ in range(count):
                client.sendall(b"hello\n")
                client.recv(4096)
            client.sendall(b"end\n")
            return int(client.recv(4096)) / 1000 / count

    def usage(self) -> tuple[float, int]:
        """CPU seconds so far, and bytes of memory: its own, and its share of what it shares (PSS)."""
        with open(f"/proc/{self.process.pid}/stat", "rb") as file:
            stat = file.read().rpartition(b")")[2].split()
        rollup = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        pss = next(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK"), pss


@contextlib.contextmanager
def pair(peer: Peer, kind: str, detector: str, micros: float) -> Iterator[tuple[Server, Server]]:
    """A server without the detector and one with it ("ours" is the watch)."""
    folder = Path(tempfile.mkdtemp(prefix="hg-watch-", dir="/tmp"))
    loops = loops_for(micros)  # the same in both
    with contextlib.ExitStack() as stack:
        plain = Server(peer, folder, kind, "", loops, watched=False)
        stack.callback(plain.process.kill)
        ours = detector == "ours"
        other = Server(peer, folder, kind, "" if ours else detector, loops, watched=ours)
        stack.callback(other.process.kill)
        yield plain, other


def per_message(peer: Peer, kind: str, detector: str, micros: float, pairs: int) -> Cost:
    """Measure: pairs of batches, in alternating order."""
    with pair(peer, kind, detector, micros) as (plain, other):
        count = max(200, int(BATCH / (1 + micros / 50)))
        plain.batch(count), other.batch(count)
        shares, costs = [], []
        for number in range(pairs):
            if number % 2:
                without, with_it = plain.batch(count), other.batch(count)
            else:
                with_it, without = other.batch(count), plain.batch(count)
            shares.append(with_it / without - 1)
            costs.append(without)
        return Cost(median(costs), median(shares), pairs)


def at_rest(peer: Peer, kind: str, seconds: float) -> tuple[float, float]:
    """What the watch takes of a process with nothing to do: share of one CPU, and MB of memory."""
    with pair(peer, kind, "ours", 0) as (plain, other):
        plain.batch(50), other.batch(50)
        before = [each.usage() for each in (plain, other)]
        time.sleep(seconds)
        after = [each.usage() for each in (plain, other)]
        cpu = [(last[0] - first[0]) / seconds for first, last in zip(before, after, strict=True)]
        return cpu[1] - cpu[0], (after[1][1] - after[0][1]) / 1e6
