"""One append to 5,000 followers; 100 appends per second to 500 followers; 10,000 events for one who comes late."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from bench.hosting import Host, Running, headgate_host
from bench.peers import installed
from bench.result import Plot, Ratio, Result, Table, median_row, milliseconds
from bench.rounds import Rounds
from headgate import connect
from headgate.declare.stream import Stream

HERE = Path(__file__).parent
HOST: Host = headgate_host("Headgate", "app:app", HERE)
ROUNDS, MANY, STEADY, RATE, SECONDS, EVENTS, BURSTS = 5, 5000, 500, 100, 15, 10_000, 10
TIMED = 50
"""Of the steady followers, those that are read at once and timed."""
DATA = {"kind": "row", "table": "orders", "key": 4711, "price": 12.5}
"""What a caught-up event carries beside its number: about 70 bytes of JSON."""


class Readers:
    """The process that holds the followers."""

    def __init__(self, port: int, stream: str) -> None:
        command = [sys.executable, "-m", "bench.streams.readers", str(port), stream]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def order(self, words: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(words + "\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline().strip()
        assert said, f"the readers ended over {words!r}"
        return said

    def told(self) -> dict[str, float]:
        told: dict[str, float] = json.loads(self.order("told"))
        return told

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)


def fan_out(server: Running, followers: int) -> dict[str, float]:
    """One append at a time, to all; until the last follower has it."""
    stream, readers = Stream("wide"), Readers(server.port, "wide")
    try:
        stream.append({"at": time.monotonic()})
        readers.order(f"open {followers}")
        readers.told()
        worst = []
        for _ in range(BURSTS):
            time.sleep(0.3)
            stream.append({"at": time.monotonic()})
            readers.order(f"wait {followers}")
            told = readers.told()
            worst.append((told["worst"], told["p50"]))
    finally:
        readers.close()
    worst.sort()
    return {"wide_worst": worst[len(worst) // 2][0], "wide_p50": worst[len(worst) // 2][1]}


def steady(server: Running, followers: int, seconds: float) -> dict[str, float]:
    """A hundred appends per second, each at its time, to all followers."""
    stream, readers = Stream("steady"), Readers(server.port, "steady")
    try:
        stream.append({"at": time.monotonic()})
        timed = min(TIMED, followers // 2)
        for _ in range(10):  # a gateway sends in the order in which they came: the timed ones are spread over it
            readers.order(f"idle {(followers - timed) // 10}")
            readers.order(f"open {timed // 10}")
        readers.told()
        for _ in range(RATE):  # what is cold becomes warm
            stream.append({"at": time.monotonic()})
        readers.order(f"wait {followers * RATE}")
        readers.told()
        start, appends = time.monotonic(), int(RATE * seconds)
        for number in range(appends):
            time.sleep(max(0.0, start + number / RATE - time.monotonic()))
            stream.append({"at": time.monotonic()})
        readers.order(f"wait {followers * appends}")
        told = readers.told()
    finally:
        readers.close()
    return {"steady_p50": told["p50"], "steady_p99": told["p99"]}


def floor(followers: int) -> dict[str, float]:
    """What half of the sends of one event cost by themselves: one thread, sockets of its own, nothing but `send`."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=followers)
    ends = [(socket.create_connection(listener.getsockname()), listener.accept()[0]) for _ in range(followers)]
    frame, took = json.dumps({"at": time.monotonic(), **DATA}).encode(), list[float]()
    for _ in range(RATE):
        began = time.perf_counter()
        for _, server in ends[: followers // 2]:
            server.send(frame)
        took.append(time.perf_counter() - began)
        for client, _ in ends[: followers // 2]:
            client.recv(4096)
    for end in (listener, *(end for pair in ends for end in pair)):
        end.close()
    return {"steady_floor": sorted(took)[len(took) // 2]}


def catch_up(server: Running, events: int) -> dict[str, float]:
    """One reader gets all from the start, by GET after GET, and reads the JSON."""
    stream = Stream("late")
    for start in range(0, events, 500):
        stream.extend({"n": n, **DATA} for n in range(start, start + 500))
    request = urllib.request.Request(f"{server.url}/address/late", method="POST")
    with urllib.request.urlopen(request) as answer:
        address = urlsplit(answer.read().decode())
    rates = []
    for _ in range(5):
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        offset, got, began = "-1", 0, time.perf_counter()
        while True:
            connection.request("GET", f"{address.path}?{address.query}&offset={offset}")
            page = connection.getresponse()
            rows = msgspec.json.decode(page.read())
            assert not rows or rows[0]["n"] == got
            got, offset = got + len(rows), page.headers["stream-next-offset"]
            if page.headers["stream-up-to-date"]:
                break
        assert got == events, (got, events)
        rates.append(got / (time.perf_counter() - began))
        connection.close()
    return {"late_rate": sorted(rates)[len(rates) // 2]}


def turn(part: str, quick: bool) -> dict[str, float]:
    """One part on a server of its own."""
    with HOST.turn() as server, connect(data=_data(server)):
        if part == "fan-out":
            return fan_out(server, 500 if quick else MANY)
        if part == "steady":
            followers = 100 if quick else STEADY
            return steady(server, followers, 3 if quick else SECONDS) | floor(followers)
        return catch_up(server, EVENTS)


def _data(server: Running) -> str:
    command = Path(f"/proc/{server.pid}/cmdline").read_bytes().decode().split("\0")
    return command[command.index("--data") + 1]


def measure(quick: bool = False) -> Result:
    """The three parts, interleaved; medians of the rounds."""
    rounds = 1 if quick else ROUNDS
    parts = ("fan-out", "steady", "catch-up")
    turns = Rounds("streams", parts, rounds, keep=not quick)
    raw = turns.run(lambda part: turn(part, quick), lambda part, row: f"{part}: {row}")
    medians: dict[str, float] = {}
    for rows in raw.values():
        medians |= median_row(rows)
    result = _result(medians, raw, rounds, quick)
    turns.done()
    return result


def _result(row: dict[str, float], raw: Any, rounds: int, quick: bool) -> Result:
    many, few = (500, 100) if quick else (MANY, STEADY)
    wide, flow, late = row["wide_worst"], row["steady_p50"], row["late_rate"]
    rows = [
        [f"one append to {many:,} followers: the last has it", milliseconds(wide)],
        [f"one append to {many:,} followers: half have it", milliseconds(row["wide_p50"])],
        [f"{RATE} appends/s to {few} followers: p50", milliseconds(flow)],
        [f"{RATE} appends/s to {few} followers: p99", milliseconds(row["steady_p99"])],
        [f"of that, {few // 2} bare sends: half of the followers", milliseconds(row["steady_floor"])],
    ]
    return Result(
        name="streams",
        title="Streams",
        question="How soon does an event reach its followers, and how fast does one who comes late catch up?",
        setup=[
            "Embedded broker, one gateway; producer, server and followers share the machine. From the call of"
            " `append` in the producer to the bytes in the follower's process; each append is on disk first",
            f"Fan-out: the median of {BURSTS} appends. Steady: {SECONDS} s, {RATE * few:,} deliveries per second,"
            f" timed at {TIMED} of the followers; the bytes of the others are taken from the kernel once a second",
            f"Catch-up: {EVENTS:,} events by GET after GET over one connection, the JSON read; the median of 5",
            f"{rounds} interleaved rounds, medians",
            f"Headgate: `{HOST.command}`",
        ],
        tables=[
            Table("From append to follower", ["what", "ms"], rows),
            Table("Catch-up", ["what", "events/s"], [["one reader, from the start, over HTTP", f"{late:,.0f}"]]),
        ],
        ratios=[
            Ratio(f"one append to {many:,} followers, ms", milliseconds(wide), "≤ 250", wide <= 0.250),
            Ratio(
                f"event to socket, p50, {few} followers, {RATE} appends/s, ms", milliseconds(flow), "≤ 3", flow <= 0.003
            ),
            Ratio("catch-up, events/s per reader", f"{late:,.0f}", "≥ 50,000", late >= 50_000),
        ],
        plots=[
            Plot("From append to follower", "ms", {label: float(value.replace(",", "")) for label, value in rows}),
        ],
        versions={"headgate": installed(sys.executable)["headgate"]},
        raw={"rounds": raw},
    )
