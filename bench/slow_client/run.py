"""One client stops reading while 300 MB are published; another, beside it, reads on."""

from __future__ import annotations

import select
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import Any

from bench.hosting import Running
from bench.peers import installed, named
from bench.result import Plot, Ratio, Result, Table, median_row
from bench.rounds import Rounds
from bench.sockets.holder import Held
from bench.sockets.hosts import HOSTS, Spoken

ROUNDS, MEGABYTES, SIZE = 5, 300, 64 * 1024
TIMES = 32
"""Messages of one publish: few requests, so that what they leave behind does not count as kept for a client."""
WARM_UP = 50
"""Publishes before the deaf client comes: buffers have grown to what the reading client needs."""
STILL = 20
"""Seconds for a server's memory to stand still before the deaf client comes."""
PATIENCE = 10.0
"""Seconds after which a publish that has not returned counts as stalled."""


class Reader(threading.Thread):
    """The client beside the stalled one: reads all, counts messages, and notes the longest silence."""

    def __init__(self, held: Held) -> None:
        super().__init__(daemon=True)
        self.held = held
        self.ended = threading.Event()
        self.lost: str | None = None

    def run(self) -> None:
        while not self.ended.is_set():
            ready, _, _ = select.select([self.held.socket], [], [], 0.1)
            if ready:
                try:
                    self.held.read()
                except OSError as error:
                    self.lost = str(error)
                    return


def publish(url: str, body: bytes) -> bool:
    """Whether the publish returned in time."""
    request = urllib.request.Request(f"{url}/publish?times={TIMES}", data=body, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            answer.read()
    except (TimeoutError, urllib.error.URLError):
        return False
    return True


def connect(server: Running, spoken: Spoken) -> Held:
    held = Held(("127.0.0.1", server.port), spoken.path, spoken.greeting)
    held.finish()
    return held


def turn(spoken: Spoken, megabytes: int) -> dict[str, float]:
    """One server: warmed up with the reading client alone; then the deaf one comes, and memory's peak is sampled."""
    body = b"m" * SIZE
    wanted = megabytes * 1024 * 1024 // SIZE // TIMES
    with spoken.host.turn() as server:
        reader = Reader(connect(server, spoken))
        reader.start()
        for _ in range(WARM_UP):
            publish(server.url, body)
        settle(reader, WARM_UP * TIMES)
        before = peak = at_rest(server)
        deaf = connect(server, spoken)
        done, sampled = 0, time.monotonic()
        while done < wanted and publish(server.url, body):
            done += 1
            if time.monotonic() - sampled > 0.2:
                peak, sampled = max(peak, server.memory()), time.monotonic()
        sent = (WARM_UP + done) * TIMES
        received = settle(reader, sent)
        peak = max(peak, server.memory())
        reader.ended.set()
        reader.join()
        deaf.socket.close()
        reader.held.socket.close()
    share = done * TIMES * SIZE / (megabytes * 1024 * 1024)
    return {"memory": float(peak - before), "published": share, "received": min(1.0, received / sent)}


def at_rest(server: Running) -> int:
    """Bytes of the server once they stand still: some processes are still importing when the first client comes."""
    seen = server.memory()
    for _ in range(STILL):
        time.sleep(1)
        seen, before = server.memory(), seen
        if abs(seen - before) < 64 * 1024:
            break
    return seen


def settle(reader: Reader, wanted: int) -> int:
    """Wait until the reader has all, or nothing more comes for two seconds; returns what it has."""
    seen, since = reader.held.received, time.monotonic()
    while seen < wanted and time.monotonic() - since < 2 and reader.lost is None:
        time.sleep(0.05)
        if reader.held.received != seen:
            seen, since = reader.held.received, time.monotonic()
    return reader.held.received


def measure(quick: bool = False) -> Result:
    """All servers, interleaved; medians of the rounds."""
    rounds, megabytes = (1, 30) if quick else (ROUNDS, MEGABYTES)
    turns = Rounds("slow_client", HOSTS, rounds, keep=not quick)
    raw = turns.run(
        lambda name: turn(HOSTS[name], megabytes), lambda name, row: f"{HOSTS[name].host.label}: {_cells(row)}"
    )
    result = _result({name: median_row(rows) for name, rows in raw.items()}, raw, turns.rounds, megabytes)
    turns.done()
    return result


def _cells(row: dict[str, float]) -> list[str]:
    return [f"{row['memory'] / 1024**2:.1f}", f"{row['published']:.0%}", f"{row['received']:.0%}"]


def _result(medians: dict[str, dict[str, float]], raw: Any, rounds: int, megabytes: int) -> Result:
    labels = {name: HOSTS[name].host.label for name in medians}
    kept = medians["headgate"]["memory"] / 1024**2
    socketio = medians["headgate_socketio"]["memory"] / 1024**2
    healthy = medians["headgate"]["received"]
    columns = ["server", "MB grown", "published before a publish stalled", "the reading client got"]
    return Result(
        name="slow_client",
        title="A client that stops reading",
        question="What does the server keep for a client that does not read, and do the others still get theirs?",
        setup=[
            f"two clients; one never reads. {megabytes} MB are published in messages of {SIZE // 1024} KB; a publish"
            f" that does not return within {PATIENCE:g} s ends the turn. {rounds} interleaved rounds",
            "memory is the growth, at its peak, of the proportional set size of all of the server's processes after"
            f" {WARM_UP * TIMES * SIZE // 1024**2} MB to the reading client alone, once it"
            f" stands still (64 KB within a second, {STILL} s at most)",
            *(f"{spoken.host.label}: `{spoken.host.command}`" for spoken in HOSTS.values()),
        ],
        tables=[Table("Medians", columns, [[labels[name], *_cells(row)] for name, row in medians.items()])],
        ratios=[
            Ratio("memory grown while one client did not read", f"{kept:.1f} MB", "≤ 1 MB", kept <= 1.0),
            Ratio("the same, as a Socket.IO client", f"{socketio:.1f} MB", "≤ 1 MB", socketio <= 1.0),
            Ratio("the reading client got", f"{healthy:.1%}", "100 %", healthy >= 1.0),
        ],
        plots=[
            Plot(
                "Memory grown by one client that does not read",
                "MB",
                {labels[name]: max(0.0, row["memory"] / 1024**2) for name, row in medians.items()},
            )
        ],
        versions=_versions(),
        raw={"rounds": raw},
    )


def _versions() -> dict[str, str]:
    found = {"headgate": installed(sys.executable)["headgate"]}
    wanted = {
        "starlette": ("starlette", "uvicorn"),
        "granian_asgi": ("granian",),
        "socketio_gevent": ("flask-socketio", "gevent"),
    }
    return found | {name: named(peer).versions[name] for peer, names in wanted.items() for name in names}
