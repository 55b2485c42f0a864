"""What a gateway adds to the way of a message and its answer, at 1,000 messages per second."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from bench.hosting import Host, Running
from bench.peers import ROOT, installed, named
from bench.result import Plot, Ratio, Result, Table, median_row, milliseconds
from bench.rounds import Rounds
from bench.sockets.hosts import HOSTS as SERVERS
from tests.support.headgate import Headgate
from tests.support.marked import new_mark
from tests.support.process import Process
from tests.support.wait import accepts, free_port, until

ROUNDS, RATE, SECONDS, SOCKETS = 3, 1000, 8, 100
TEXT = "m" * 100


def _bare() -> Callable[[Path], AbstractContextManager[Running]]:
    @contextmanager
    def start(folder: Path) -> Iterator[Running]:
        port, mark = free_port(), new_mark()
        command = [sys.executable, "-m", "bench.latency.echo", "direct", str(port)]
        process = Process("bare", command, folder, env=mark, cwd=ROOT)
        process.wait_ready(lambda: accepts(port))
        try:
            yield Running(port, process.pid, mark)
        finally:
            process.stop()

    return start


def _gateway() -> Callable[[Path], AbstractContextManager[Running]]:
    """A gateway whose app workers are one process that echoes."""

    @contextmanager
    def start(folder: Path) -> Iterator[Running]:
        options = ("--roles", "broker", "--roles", "gateway", "--broker", "memory", "--gateways", "1")
        with Headgate("nobody:app", folder, *options, ready=False) as server:
            link = server.data / "run" / "gateway.0.sock"
            server.process.wait_ready(lambda: link.exists() and accepts(server.port), 30)
            command = [sys.executable, "-m", "bench.latency.echo", "link", str(link)]
            worker = Process("played", command, folder, env=server.mark, cwd=ROOT)
            try:
                until(server.ready, "the gateway is ready", 30)
                yield Running(server.port, server.pid, server.mark)
            finally:
                worker.stop()

    return start


HOSTS = {
    "bare": Host("no gateway: a bare echo", "the floor of this client and this machine", _bare()),
    "gateway": Host("Headgate's gateway, the echo behind its link", "headgate run --roles gateway", _gateway()),
    "headgate": SERVERS["headgate"].host,
    "uvicorn": SERVERS["uvicorn"].host,
}
LABELS = {name: host.label for name, host in HOSTS.items()} | {"headgate": "Headgate, whole: a Flask handler echoes"}


def turn(name: str, seconds: float) -> dict[str, float]:
    """One host: percentiles of the way there and back, seconds."""
    text = f'"{TEXT}"' if name == "headgate" else TEXT
    with HOSTS[name].turn() as server:
        command = [sys.executable, "-m", "bench.latency.client", str(server.port), "/ws", text]
        given = [str(RATE), str(seconds), str(SOCKETS)]
        done = subprocess.run([*command, *given], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the client of {LABELS[name]} failed:\n{done.stderr}")
    row: dict[str, float] = json.loads(done.stdout)
    return row


def measure(quick: bool = False) -> Result:
    """All hosts, interleaved; medians of the rounds."""
    rounds, seconds = (1, 3) if quick else (ROUNDS, SECONDS)
    turns = Rounds("latency", HOSTS, rounds, keep=not quick)
    raw = turns.run(
        lambda name: turn(name, seconds),
        lambda name, row: f"{LABELS[name]}: {', '.join(map(milliseconds, row.values()))}",
    )
    medians = {name: median_row(rows) for name, rows in raw.items()}
    result = _result(medians, raw, rounds, seconds)
    turns.done()
    return result


def _result(medians: dict[str, dict[str, float]], raw: Any, rounds: int, seconds: float) -> Result:
    added = {share: medians["gateway"][share] - medians["bare"][share] for share in ("p50", "p99")}
    rows = [[LABELS[name], *(milliseconds(value) for value in row.values())] for name, row in medians.items()]
    return Result(
        name="latency",
        title="Latency: what a gateway adds",
        question="How long does a message take there and back, and how much of that is the gateway's?",
        setup=[
            f"{RATE:,} messages of {len(TEXT)} bytes per second for {seconds:g} s over {SOCKETS} sockets, sent by"
            f" the clock whether or not others are answered; {rounds} interleaved rounds",
            "client, gateway and echo are processes of one machine, so every hop of theirs is in the figures",
            *(f"{LABELS[name]}: `{host.command}`" for name, host in HOSTS.items()),
        ],
        tables=[Table("There and back, ms, medians", ["", "p50", "p99", "p99.9"], rows)],
        ratios=[
            Ratio(
                "p99 there and back through the gateway",
                f"{milliseconds(medians['gateway']['p99'])} ms",
                "≤ 2 ms",
                medians["gateway"]["p99"] <= 0.002,
            ),
            Ratio("of it added by the gateway and its link (p50)", f"{milliseconds(added['p50'])} ms"),
            Ratio("of it added by the gateway and its link (p99)", f"{milliseconds(added['p99'])} ms"),
        ],
        plots=[
            Plot(
                "A message and its echo, p99", "ms", {LABELS[name]: row["p99"] * 1000 for name, row in medians.items()}
            )
        ],
        versions={"headgate": installed(sys.executable)["headgate"]}
        | {package: named("starlette").versions[package] for package in ("starlette", "uvicorn")},
        raw={"rounds": raw},
    )
