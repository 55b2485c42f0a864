"""19,000 idle sockets in one gateway process: the memory of each, and how long they take to come."""

from __future__ import annotations

import sys
import time
from typing import Any

from bench.hosting import process_memory
from bench.peers import installed, named
from bench.result import Plot, Ratio, Result, Table, median_row
from bench.rounds import Rounds
from bench.sockets.hosts import HOSTS, Spoken
from bench.sockets.run import Holder, publish, settled
from tests.support.marked import bearers

ROUNDS, SOCKETS = 2, 19_000
NAMES = ("headgate", "uvicorn")


def turn(spoken: Spoken, sockets: int) -> dict[str, float]:
    """One server: what it holds with the sockets, less what it held before."""
    with spoken.host.turn() as server:
        holder = Holder(server, spoken)
        try:
            holder.order("open 50")  # what the first connections load is not the price of a socket
            holder.order("expect 0")
            holder.answer()
            publish(server.url)
            before, alone = settled(server), _gateway(server.mark)
            began = time.perf_counter()
            holder.order(f"open {sockets - 50}")
            took = time.perf_counter() - began
            memory = settled(server) - before
            grown = _gateway(server.mark) - alone
            holder.order("expect 1")
            publish(server.url)
            holder.answer()  # all of them are alive
        finally:
            holder.close()
    return {"memory": memory / (sockets - 50), "gateway": grown / (sockets - 50), "rate": sockets / took}


def _gateway(mark: dict[str, str]) -> int:
    """Of the gateway process alone; 0 for a server that has none."""
    return sum(process_memory(pid) for pid, line in bearers(mark).items() if "headgate.roles.gateway" in line)


def measure(quick: bool = False) -> Result:
    """All servers, interleaved; medians of the rounds."""
    rounds, sockets = (1, 2000) if quick else (ROUNDS, SOCKETS)
    turns = Rounds("idle", NAMES, rounds, keep=not quick)
    raw = turns.run(
        lambda name: turn(HOSTS[name], sockets),
        lambda name, row: f"{HOSTS[name].host.label}: {row['memory'] / 1024:.1f} KB, {row['rate']:.0f}/s",
    )
    medians = {name: median_row(rows) for name, rows in raw.items()}
    result = _result(medians, raw, rounds, sockets)
    turns.done()
    return result


def _result(medians: dict[str, dict[str, float]], raw: Any, rounds: int, sockets: int) -> Result:
    labels = {name: HOSTS[name].host.label for name in NAMES}
    ours = medians["headgate"]["memory"] / 1024
    rows = [[labels[name], f"{row['memory'] / 1024:.1f}", f"{row['rate']:,.0f}"] for name, row in medians.items()]
    return Result(
        name="idle",
        title=f"{sockets:,} idle sockets in one process",
        question="What does one gateway process keep for each socket, as full as its descriptors let it be?",
        setup=[
            f"{rounds} interleaved rounds; memory is the growth of the proportional set size of all of the server's"
            " processes, per socket; every socket has joined a channel, and is shown to be alive by a message to all",
            *(f"{HOSTS[name].host.label}: `{HOSTS[name].host.command}`" for name in NAMES),
        ],
        tables=[Table("Medians", ["server", "KB per idle socket", "sockets opened per second"], rows)],
        ratios=[
            Ratio("an idle socket, all processes of Headgate", f"{ours:.1f} KB", "≤ 20 KB", ours <= 20),
            Ratio("of it in the gateway", f"{medians['headgate']['gateway'] / 1024:.1f} KB"),
        ],
        plots=[
            Plot(
                "Memory of an idle socket", "KB", {labels[name]: row["memory"] / 1024 for name, row in medians.items()}
            )
        ],
        versions={"headgate": installed(sys.executable)["headgate"]}
        | {package: named("starlette").versions[package] for package in ("starlette", "uvicorn", "websockets")},
        raw={"rounds": raw},
    )
