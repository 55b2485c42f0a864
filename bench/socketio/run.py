"""Socket.IO: 2,000 clients in one room, and the story's clicks with the updates inline in event handlers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from typing import Any

from bench.hosting import Running
from bench.peers import ROOT, STORY, installed
from bench.result import Plot, Ratio, Result, Table, median_row, milliseconds
from bench.rounds import Rounds, Row
from bench.socketio.hosts import HOSTS, PEER
from headgate.simulate import api
from tests.support.postgres import Postgres

ROUNDS, CLIENTS, BURST, PACED, RATE = 3, 2000, 40, 25, 5.0
USERS, CLICKS, HEAVY, SECONDS = 300, "50/s", 0.05, 15.0


class Crowd:
    """The process with the clients."""

    def __init__(self, server: Running) -> None:
        command = [sys.executable, "-m", "bench.socketio.crowd", "127.0.0.1", str(server.port)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def order(self, text: str) -> dict[str, float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the client process ended; its error is above")
        told: dict[str, float] = json.loads(line)
        return told

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def emit(server: Running, times: int = 1) -> None:
    request = urllib.request.Request(f"{server.url}/emit?times={times}", data=b"", method="POST")
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()


def room(name: str, clients: int) -> Row:
    """One host: a room of so many; a burst of emits, then emits at a steady pace."""
    with HOSTS[name]().turn() as server:
        crowd = Crowd(server)
        try:
            crowd.order("open 50")
            before = server.memory()
            crowd.order(f"open {clients - 50}")
            memory = server.memory() - before
            crowd.order("expect 1")
            emit(server)
            crowd.order("settle 30")
            crowd.order(f"expect {BURST}")
            since = time.time()
            emit(server, BURST)
            burst = crowd.order("settle 60")
            idle = server.cpu()
            time.sleep(PACED / RATE)
            idle = server.cpu() - idle
            crowd.order(f"expect {PACED}")
            cpu, at = server.cpu(), time.monotonic()
            for number in range(PACED):
                time.sleep(max(0.0, at + number / RATE - time.monotonic()))
                emit(server)
            paced = crowd.order("settle 30")
            used = server.cpu() - cpu - idle
        finally:
            crowd.close()
    return {
        "emits": BURST * burst["share"] / (burst["finished"] - since),
        "p50": paced["p50"],
        "p99": paced["p99"],
        "cpu": used / (PACED * clients),
        "memory": memory / (clients - 50),
        "share": min(burst["share"], paced["share"]),
    }


def story(name: str, postgres: Postgres, seconds: float, seed: int) -> Row:
    """One host: users that click; one click of twenty is a batch update inline in the event's handler."""
    postgres.drop("story")
    database = postgres.create("story")
    namespace: dict[str, Any] = {"__name__": "schema"}
    exec((STORY / "schema.py").read_text(), namespace)  # noqa: S102 - the example's own script, run as a user would
    namespace["create"](database)
    os.environ["DATABASE_URL"] = database
    with HOSTS[name]().turn() as server:
        report = api.run(
            server.url,
            protocol="socketio",
            users=USERS,
            rate=CLICKS,
            heavy=HEAVY,
            seconds=seconds,
            warmup=5.0,
            drain=30.0,
            seed=seed,
            connect_rate=100.0,
        )
    if report.problem:
        raise RuntimeError(f"{name}: {report.problem}")
    return {
        "p50": report.percentile("click", 50, lost=True),
        "p99": report.percentile("click", 99, lost=True),
        "heavy_p50": report.percentile("update", 50, lost=True),
        "lost": float(report.counter("lost")),
    }


def measure(quick: bool = False) -> Result:
    """All hosts, interleaved; medians of the rounds."""
    rounds, clients, seconds = (1, 300, 8.0) if quick else (ROUNDS, CLIENTS, SECONDS)
    rooms = Rounds("socketio_room", HOSTS, rounds, keep=not quick)
    raw = rooms.run(lambda name: room(name, clients), lambda name, row: f"{name}: {', '.join(_room(row))}")
    stories = Rounds("socketio_story", HOSTS, rounds, keep=not quick)
    with Postgres(durable=True) as postgres:
        told = stories.run(
            lambda name: story(name, postgres, seconds, 20_261_123 + len(stories.raw[name])),
            lambda name, row: f"{name}: {', '.join(_story(row))}",
        )
    result = _result(raw, told, (rooms.rounds, clients, seconds))
    rooms.done()
    stories.done()
    return result


def _room(row: Row) -> list[str]:
    return [
        f"{row['emits']:,.1f}",
        milliseconds(row["p50"]),
        milliseconds(row["p99"]),
        f"{row['cpu'] * 1e6:.1f}",
        f"{row['memory'] / 1024:.1f}",
        f"{row['share']:.1%}",
    ]


def _story(row: Row) -> list[str]:
    return [*(milliseconds(row[key]) for key in ("p50", "p99", "heavy_p50")), f"{row['lost']:.0f}"]


def _result(raw: dict[str, list[Row]], told: dict[str, list[Row]], size: tuple[int, int, float]) -> Result:
    rounds, clients, seconds = size
    rooms = {name: median_row(rows) for name, rows in raw.items()}
    stories = {name: median_row(rows) for name, rows in told.items()}
    labels = {name: make().label for name, make in HOSTS.items()}
    best = max(row["emits"] for name, row in rooms.items() if name != "headgate")
    ours = rooms["headgate"]["emits"]
    light = stories["headgate"]["p99"] * 1000
    columns = ["host", "emits/s", "p50 ms", "p99 ms", "CPU µs per delivery", "KB per client", "delivered"]
    return Result(
        name="socketio",
        title="Socket.IO: a room of 2,000, and updates inline",
        question="How fast is an emit to a large room, what does a client cost, and what does a light event feel?",
        setup=[
            f"{rounds} interleaved rounds; the same Flask-SocketIO app on each host (bench/socketio/apps/room.py)",
            f"room: {clients:,} WebSocket clients; {BURST} emits of 100 characters at once from a view, then {PACED} at"
            f" {RATE:g}/s, whose way to one client of twenty is timed; memory is the growth of the proportional set"
            " size of all of the host's own processes (without nginx and Redis)",
            f"story: {USERS} users, {CLICKS} clicks all together, {HEAVY:.0%} of them 4,000 single-row UPDATEs with"
            f" psycopg 3 inline in the handler; {seconds:g} s, the first 5 s not timed",
            "Headgate: `headgate run room:app` with its defaults",
        ],
        tables=[
            Table(
                f"{clients:,} clients in one room (medians)",
                columns,
                [[labels[n], *_room(r)] for n, r in rooms.items()],
            ),
            Table(
                "The story as Socket.IO events, in ms from the intended click (medians)",
                ["host", "light p50", "light p99", "update p50", "lost"],
                [[labels[name], *_story(row)] for name, row in stories.items()],
            ),
        ],
        ratios=[
            Ratio("p99 of a light event while updates run inline", f"{light:.1f} ms", "≤ 20 ms", light <= 20.0),
            Ratio(
                "emits per second to the room, against the best other host",
                f"{ours / best:.2f} ×",
            ),
        ],
        plots=[
            Plot(
                "A light event's p99 while updates run inline",
                "ms",
                {labels[name]: row["p99"] * 1000 for name, row in stories.items()},
                logarithmic=True,
            )
        ],
        versions={
            "headgate": installed(sys.executable)["headgate"],
            **{name: PEER.versions[name] for name in ("flask-socketio", "python-socketio", "gevent", "redis")},
        },
        raw={"room": raw, "story": told},
    )
