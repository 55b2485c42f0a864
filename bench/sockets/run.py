"""Memory of idle sockets, processor time of a broadcast and of an echo, measured on the server's own processes."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from typing import Any

from bench.hosting import Running
from bench.peers import ROOT, installed, named
from bench.result import Plot, Ratio, Result, Table, median_row, milliseconds
from bench.rounds import Rounds, Row
from bench.sockets.hosts import HOSTS, NODE, Spoken

ROUNDS, SOCKETS, MESSAGES, SECONDS = 5, 10_000, 5, 2.0
FIRST, ECHOING = 50, 50
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


def turn(spoken: Spoken, sockets: int, messages: int, seconds: float) -> Row:
    """One server: memory with and without the sockets, some broadcasts, then echoes on a few of the sockets."""
    count = min(sockets, spoken.most)
    with spoken.host.turn() as server:
        holder = Holder(server, spoken)
        try:
            holder.order(f"open {FIRST}")  # what the first connections load is not the price of a socket
            holder.order("expect 0")
            holder.answer()
            publish(server.url)
            before = settled(server)
            holder.order(f"open {count}")
            memory = settled(server) - before
            holder.order("expect 1")
            publish(server.url)
            holder.answer()
            cpu = server.cpu()
            holder.order(f"expect {messages}")
            for _ in range(messages):
                publish(server.url)
            span = float(holder.answer())
            sending = server.cpu() - cpu
            holder.order(f"echo 0.5 {ECHOING} {echo_text(spoken)}")
            cpu = server.cpu()
            echoes, p50, p99 = map(float, holder.order(f"echo {seconds} {ECHOING} {echo_text(spoken)}").split())
            echoing = server.cpu() - cpu
        finally:
            holder.close()
    total = (count + FIRST) * messages
    return {
        "sockets": float(count),
        "memory": memory / count,
        "cpu": sending / total,
        "rate": total / span,
        "span": span / messages,
        "echoes": echoes / seconds,
        "echo_cpu": echoing / echoes,
        "echo_p50": p50,
        "echo_p99": p99,
    }


def echo_text(spoken: Spoken) -> str:
    """What a client sends to have it back, in the server's protocol."""
    return spoken.echo.replace("TEXT", TEXT)


def measure(quick: bool = False) -> Result:
    """All servers, interleaved; medians of the rounds."""
    rounds, sockets, seconds = (1, 500, 1.0) if quick else (ROUNDS, SOCKETS, SECONDS)
    turns = Rounds("sockets", HOSTS, rounds, keep=not quick)
    raw = turns.run(
        lambda name: turn(HOSTS[name], sockets, MESSAGES, seconds),
        lambda name, row: f"{HOSTS[name].host.label}: {', '.join(_cells(row))}",
    )
    result = _result({name: median_row(rows) for name, rows in raw.items()}, raw, (turns.rounds, sockets, seconds))
    turns.done()
    return result


def _cells(row: Row) -> list[str]:
    return [f"{row['sockets']:,.0f}", f"{row['memory'] / 1024:.1f}", *_broadcast(row), *_echo(row)]


def _broadcast(row: Row) -> list[str]:
    return [f"{row['cpu'] * 1e6:.1f}", f"{row['rate']:,.0f}", milliseconds(row["span"])]


def _echo(row: Row) -> list[str]:
    rate = f"{row['echoes']:,.0f}"
    return [rate, f"{row['echo_cpu'] * 1e6:.0f}", milliseconds(row["echo_p50"]), milliseconds(row["echo_p99"])]


def _result(medians: dict[str, Row], raw: Any, size: tuple[int, int, float]) -> Result:
    rounds, sockets, seconds = size
    labels = {name: HOSTS[name].host.label for name in medians}
    idle = medians["headgate"]["memory"] / 1024
    held = [
        [labels[name], f"{row['sockets']:,.0f}", f"{row['memory'] / 1024:.1f}", *_broadcast(row)]
        for name, row in medians.items()
    ]
    echoed = [[labels[name], *_echo(row)] for name, row in medians.items()]
    columns = ["server", "idle sockets", "KB each", "CPU µs per send", "sends/s", "ms per broadcast"]
    return Result(
        name="sockets",
        title="Sockets: what one costs",
        question="How much memory does an idle WebSocket take, and how much processor time a send to it, and an echo?",
        setup=[
            f"{rounds} interleaved rounds; memory is the growth of the proportional set size of all of the server's"
            f" processes with {sockets:,} sockets (Flask-SocketIO's threading mode: 2,000, with four threads each)",
            f"a broadcast is a POST that sends {len(TEXT)} bytes to every socket, {MESSAGES} of them in a row",
            f"echo: {ECHOING} of the sockets send {len(TEXT)} bytes and wait for them, again and again, for"
            f" {seconds:g} s. Headgate's handlers run in app workers, apart from the sockets; the others' in the"
            " process that holds the sockets",
            "one process holds the sockets on every server",
            *(f"{spoken.host.label}: `{spoken.host.command}`" for spoken in HOSTS.values()),
        ],
        tables=[
            Table("Idle sockets and broadcasts, medians", columns, held),
            Table("Echo, medians", ["server", "echoes/s", "CPU µs per echo", "p50 ms", "p99 ms"], echoed),
        ],
        ratios=[Ratio("an idle socket in a gateway", f"{idle:.1f} KB", "≤ 20 KB", idle <= 20)],
        plots=[
            Plot("Memory of an idle socket", "KB", {labels[n]: r["memory"] / 1024 for n, r in medians.items()}),
            Plot("Processor time of one send", "µs", {labels[n]: r["cpu"] * 1e6 for n, r in medians.items()}),
            Plot("Echoes per second", "1/s", {labels[n]: r["echoes"] for n, r in medians.items()}, "more"),
        ],
        versions=_versions(),
        raw={"rounds": raw},
    )


def _versions() -> dict[str, str]:
    found = {"headgate": installed(sys.executable)["headgate"]}
    wanted = {
        "starlette": ("starlette", "uvicorn", "websockets"),
        "granian_asgi": ("granian",),
        "socketio_gevent": ("flask-socketio", "gunicorn", "gevent"),
        "socketify": ("socketify",),
    }
    found |= {name: NODE.versions[name] for name in ("ws", "node")}
    return found | {name: named(peer).versions[name] for peer, names in wanted.items() for name in names}
