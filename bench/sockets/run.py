"""Memory of idle sockets, and processor time of a broadcast, measured on the server's own processes."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from typing import Any

from bench.hosting import Running
from bench.peers import ROOT, installed, named
from bench.result import Plot, Ratio, Result, Table, median_row, milliseconds
from bench.sockets.hosts import HOSTS, Spoken

ROUNDS, SOCKETS, MESSAGES = 5, 2000, 20
MANY = 10_000
TEXT = "m" * 200


class Holder:
    """The process that holds the client ends."""

    def __init__(self, server: Running, spoken: Spoken) -> None:
        command = [sys.executable, "-m", "bench.sockets.holder", "127.0.0.1", str(server.port)]
        self.process = subprocess.Popen(
            [*command, spoken.path, spoken.greeting],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def order(self, text: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the client process ended; its error is above")
        return line.strip()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def settled(server: Running) -> int:
    """The server's memory once it has stopped growing for a second."""
    last, since = server.memory(), time.monotonic()
    deadline = since + 15
    while time.monotonic() - since < 1.0 and time.monotonic() < deadline:
        time.sleep(0.2)
        now = server.memory()
        if abs(now - last) > 64 * 1024:
            last, since = now, time.monotonic()
    return last


def publish(url: str) -> None:
    request = urllib.request.Request(f"{url}/publish", data=TEXT.encode(), method="POST")
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()


def turn(spoken: Spoken, sockets: int, messages: int) -> dict[str, float]:
    """One server: memory with and without the sockets, then some broadcasts."""
    with spoken.host.turn() as server:
        holder = Holder(server, spoken)
        try:
            holder.order("open 50")  # what the first connections load is not the price of a socket
            holder.order("expect 0")
            holder.answer()
            publish(server.url)
            before = settled(server)
            holder.order(f"open {sockets}")
            memory = settled(server) - before
            holder.order("expect 1")
            publish(server.url)
            holder.answer()
            cpu = server.cpu()
            holder.order(f"expect {messages}")
            for _ in range(messages):
                publish(server.url)
            span = float(holder.answer())
            used = server.cpu() - cpu
        finally:
            holder.close()
    total = (sockets + 50) * messages
    return {"memory": memory / sockets, "cpu": used / total, "span": span, "rate": total / span}


def measure(quick: bool = False) -> Result:
    """All servers, interleaved; medians of the rounds. Once more with 10,000 sockets, for those that can."""
    rounds, sockets = (1, 500) if quick else (ROUNDS, SOCKETS)
    raw: dict[str, list[dict[str, float]]] = {name: [] for name in HOSTS}
    for number in range(rounds):
        for name, spoken in HOSTS.items():
            raw[name].append(turn(spoken, sockets, MESSAGES))
            row = raw[name][-1]
            print(
                f"sockets: round {number + 1}/{rounds} {spoken.host.label}: {row['memory'] / 1024:.1f} KB,"
                f" {row['cpu'] * 1e6:.1f} µs",
                flush=True,
            )
    many = {name: turn(HOSTS[name], MANY, 2) for name in ("headgate", "uvicorn")} if not quick else {}
    return _result({name: median_row(rows) for name, rows in raw.items()}, many, raw, rounds, sockets)


def _result(
    medians: dict[str, dict[str, float]], many: dict[str, dict[str, float]], raw: Any, rounds: int, sockets: int
) -> Result:
    rows = [
        [
            HOSTS[name].host.label,
            f"{row['memory'] / 1024:.1f}",
            f"{row['cpu'] * 1e6:.1f}",
            f"{row['rate']:,.0f}",
            milliseconds(row["span"] / MESSAGES),
        ]
        for name, row in medians.items()
    ]
    large = [
        [HOSTS[name].host.label, f"{row['memory'] / 1024:.1f}", f"{row['rate']:,.0f}"] for name, row in many.items()
    ]
    idle = (many or medians)["headgate"]["memory"] / 1024
    columns = ["server", "KB per idle socket", "CPU µs per send", "sends/s", "ms per broadcast"]
    tables = [Table(f"{sockets:,} sockets, medians", columns, rows)]
    if large:
        tables.append(Table(f"{MANY:,} sockets, once", ["server", "KB per idle socket", "sends/s"], large))
    labels = {name: HOSTS[name].host.label for name in medians}
    return Result(
        name="sockets",
        title="Sockets: what one costs",
        question="How much memory does an idle WebSocket take, and how much processor time one send to it?",
        setup=[
            f"{rounds} interleaved rounds; memory is the growth of the proportional set size of all of the server's"
            f" processes; a broadcast is a POST that sends 200 bytes to every socket, {MESSAGES} of them in a row",
            "one process holds the sockets on every server",
            *(f"{spoken.host.label}: `{spoken.host.command}`" for spoken in HOSTS.values()),
        ],
        tables=tables,
        ratios=[Ratio("an idle socket in a gateway", f"{idle:.1f} KB", "≤ 20 KB", idle <= 20)],
        plots=[
            Plot("Memory of an idle socket", "KB", {labels[n]: r["memory"] / 1024 for n, r in medians.items()}),
            Plot("Processor time of one send", "µs", {labels[n]: r["cpu"] * 1e6 for n, r in medians.items()}),
        ],
        versions=_versions(),
        raw={"rounds": raw, "many": many},
    )


def _versions() -> dict[str, str]:
    found = {"headgate": installed(sys.executable)["headgate"]}
    wanted = {
        "starlette": ("starlette", "uvicorn", "websockets"),
        "granian_asgi": ("granian",),
        "socketio_gevent": ("flask-socketio", "gunicorn", "gevent"),
    }
    return found | {name: named(peer).versions[name] for peer, names in wanted.items() for name in names}
