"""How many sockets a server opens, asking the app about each: per second, and per second of its processor time."""

from __future__ import annotations

import sys
import time
from typing import Any

from bench.peers import installed, named
from bench.result import Plot, Ratio, Result, Table, median_row
from bench.rounds import Rounds
from bench.sockets.hosts import HOSTS, Spoken
from bench.sockets.run import Holder, publish

ROUNDS, SOCKETS = 3, 2000
NAMES = ("headgate", "uvicorn", "granian", "socketio_gevent")


def turn(spoken: Spoken, sockets: int) -> dict[str, float]:
    """One server: so many handshakes, at most fifty of them under way at a time."""
    with spoken.host.turn() as server:
        holder = Holder(server, spoken)
        try:
            holder.order("open 300")  # lanes are learned, code is loaded
            publish(server.url)
            cpu, began = server.cpu(), time.perf_counter()
            holder.order(f"open {sockets}")
            took, used = time.perf_counter() - began, server.cpu() - cpu
        finally:
            holder.close()
    return {"rate": sockets / took, "per_core": sockets / used}


def measure(quick: bool = False) -> Result:
    """All servers, interleaved; medians of the rounds."""
    rounds, sockets = (1, 500) if quick else (ROUNDS, SOCKETS)
    turns = Rounds("handshakes", NAMES, rounds, keep=not quick)
    raw = turns.run(
        lambda name: turn(HOSTS[name], sockets),
        lambda name, row: f"{HOSTS[name].host.label}: {row['rate']:.0f}/s, {row['per_core']:.0f} per core",
    )
    result = _result({name: median_row(rows) for name, rows in raw.items()}, raw, rounds, sockets)
    turns.done()
    return result


def _result(medians: dict[str, dict[str, float]], raw: Any, rounds: int, sockets: int) -> Result:
    labels = {name: HOSTS[name].host.label for name in NAMES}
    ours = medians["headgate"]["per_core"]
    rows = [[labels[name], f"{row['rate']:,.0f}", f"{row['per_core']:,.0f}"] for name, row in medians.items()]
    columns = ["server", "sockets per second", "per second of processor time"]
    return Result(
        name="handshakes",
        title="Handshakes",
        question="How many sockets per second can be opened, when the app is asked about each of them?",
        setup=[
            f"{sockets:,} handshakes after 300, at most 50 under way at a time, from one client process; {rounds}"
            " interleaved rounds. The processor time is that of all of the server's processes",
            "Headgate asks a Flask handler (`on_connect`, with Flask's request context), which joins a channel; the"
            " others run their app's own accepting code",
            *(f"{HOSTS[name].host.label}: `{HOSTS[name].host.command}`" for name in NAMES),
        ],
        tables=[Table("Medians", columns, rows)],
        ratios=[
            Ratio("handshakes per core and second with a Flask handler", f"{ours:,.0f}", "≥ 200", ours >= 200),
        ],
        plots=[
            Plot(
                "Sockets opened per second of processor time",
                "per second",
                {labels[name]: row["per_core"] for name, row in medians.items()},
                better="more",
            )
        ],
        versions={"headgate": installed(sys.executable)["headgate"]}
        | {package: named("starlette").versions[package] for package in ("starlette", "uvicorn", "websockets")}
        | {"granian": named("granian_asgi").versions["granian"]}
        | {name: named("socketio_gevent").versions[name] for name in ("flask-socketio", "gevent")},
        raw={"rounds": raw},
    )
