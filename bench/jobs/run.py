"""Job engines side by side: enqueueing, throughput, latency, and what becomes of a job whose worker is killed."""

from __future__ import annotations

import sqlite3
import sys
from typing import Any

from bench.jobs.crash import CAP, CASES, crash_round, shown
from bench.jobs.hosts import ENGINES, Engine
from bench.jobs.speed import IDLE, PARK, turn
from bench.peers import installed, named
from bench.result import Plot, Ratio, Result, Table, first_line, median_row, milliseconds
from bench.rounds import Rounds, Row
from tests.support.process import program

ROUNDS = 5
SPEED = {key: engine for key, engine in ENGINES.items() if engine.speed}
CRASH = {key: engine for key, engine in ENGINES.items() if engine.crash}


def measure(quick: bool = False) -> Result:
    """All engines, interleaved; medians of the rounds. The crashes are measured in rounds of their own."""
    rounds = 1 if quick else ROUNDS
    speed = Rounds("jobs", SPEED, rounds, keep=not quick)
    raw = speed.run(lambda key: turn(SPEED[key]), lambda key, row: f"{SPEED[key].label}: {', '.join(_cells(row))}")
    crashes = Rounds("jobs_crash", ("all",), rounds, keep=not quick, expected=200.0)
    lost = crashes.run(
        lambda _: crash_round(CRASH), lambda _, row: ", ".join(f"{k} {shown(v)}" for k, v in row.items())
    )
    result = _result(
        speed.rounds, {key: median_row(rows) for key, rows in raw.items()}, median_row(lost["all"]), {**raw, **lost}
    )
    speed.done()
    crashes.done()
    return result


def _cells(row: Row) -> list[str]:
    rates = [f"{row[key]:,.0f}" for key in ("enqueue", "synced", "throughput")]
    times = [milliseconds(row[key]) for key in ("first_p50", "first_p99", "result_p50", "result_p99")]
    return [*rates, *times]


def _result(rounds: int, speed: dict[str, Row], crash: Row, raw: dict[str, Any]) -> Result:
    columns = ["engine", "enqueues/s", "… each on disk", "jobs/s", "first line p50 ms", "p99", "result p50 ms", "p99"]
    again = ["engine", "its process killed: runs again after s", "all workers killed and started again", "settings"]
    again_rows = [
        [engine.label, *(shown(crash[f"{key}.{case}"]) for case in CASES), engine.settings]
        for key, engine in CRASH.items()
    ]
    return Result(
        name="jobs",
        title="Jobs: engines side by side",
        question="How fast does each engine take and run small jobs, and how soon does a killed one run again?",
        setup=_setup(rounds),
        tables=[
            Table(
                "Small jobs, one producer, 2 worker processes; medians",
                columns,
                [[SPEED[key].label, *_cells(row)] for key, row in speed.items()],
            ),
            Table("`kill -9` in the middle of a job of 3 s; medians", again, again_rows),
        ],
        ratios=_ratios(speed, crash),
        plots=[
            Plot("Jobs per second", "1/s", {SPEED[k].label: row["throughput"] for k, row in speed.items()}, "more"),
            Plot(
                f"Seconds until a killed job runs again (a full bar: not within {CAP:.0f} s)",
                "s",
                {engine.label: crash[f"{key}.one"] for key, engine in CRASH.items()},
            ),
        ],
        versions=_versions(),
        raw={"rounds": raw},
    )


def _setup(rounds: int) -> list[str]:
    return [
        f'{rounds} interleaved rounds. Peers on a Redis of their own with its defaults (nothing is synced); "each on'
        " disk\": enqueues/s with `appendonly yes, appendfsync always`, which is what Headgate's enqueue always does",
        f"enqueues: one producer for {PARK:g} s, no worker running. jobs/s: jobs that wait already, from the moment at"
        " which a tenth of them has run; each appends 16 bytes to a file, results are kept",
        f"first line, result: {IDLE} jobs, one 20 ms after the other's result, from the call of enqueue to the job's"
        " first line and to the result in the caller",
        "killed: the process that runs the job; or all worker processes, started again at once",
        *(f"{engine.label}: {_how(engine)}" for engine in ENGINES.values()),
    ]


def _how(engine: Engine) -> str:
    if engine.peer is None:
        return f"`headgate run --jobs 2`, {engine.settings}"
    copies = f", {engine.copies} of it" if engine.copies > 1 else ""
    return f"`{engine.workers.replace('--url REDIS ', '')}`{copies}; {engine.settings}"


def _ratios(speed: dict[str, Row], crash: Row) -> list[Ratio]:
    ours = speed["headgate"]
    peers = {key: row for key, row in speed.items() if SPEED[key].peer is not None}
    synced = max(row["synced"] for row in peers.values())
    fastest = max(peers, key=lambda key: peers[key]["throughput"])
    recovered = max(crash[f"headgate.{case}"] for case in CASES[:1])
    return [
        Ratio("a killed worker's job runs again, median", f"{recovered:.2f} s", "≤ 1 s", recovered <= 1.0),
        Ratio(
            "enqueue → first line, p50", f"{milliseconds(ours['first_p50'])} ms", "≤ 3 ms", ours["first_p50"] <= 0.003
        ),
        Ratio("enqueues on disk, one producer, against the best peer", f"{ours['synced'] / synced:.2f} ×"),
        Ratio(
            f"jobs/s against the fastest peer ({SPEED[fastest].label}, nothing on disk)",
            f"{ours['throughput'] / peers[fastest]['throughput']:.2f} ×",
        ),
    ]


def _versions() -> dict[str, str]:
    found = {"headgate": installed(sys.executable)["headgate"], "SQLite": sqlite3.sqlite_version}
    for name in ("rq", "celery", "dramatiq", "taskiq", "huey", "saq"):
        found[name] = named(name).versions[name]
    found["taskiq-redis"] = named("taskiq").versions["taskiq-redis"]
    found["Redis"] = first_line(program("redis-server", "valkey-server"), "--version").split("v=")[-1].split()[0]
    return found
