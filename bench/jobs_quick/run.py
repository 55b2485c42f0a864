"""Enqueue and start-up times of jobs on the embedded engine: every enqueue is on disk when it returns."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.peers import installed
from bench.result import Ratio, Result, Table, median_row, milliseconds
from tests.support.headgate import Headgate

HERE = Path(__file__).parent
ROUNDS, SECONDS, JOBS, PRODUCERS = 5, 5.0, 300, 8
BURST = 20_000
"""Jobs that do nothing, put at once."""


def percentile(values: list[float], percent: float) -> float:
    """The smallest value that so many percent of the values do not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * percent / 100))]


def turn(seconds: float, jobs: int) -> dict[str, float]:
    """One fresh Headgate: a single producer, eight together, and jobs on the idle engine."""
    folder = Path(tempfile.mkdtemp(prefix="hg-jobs-", dir="/tmp"))
    options = ("--jobs", "2", "--queues", "served")
    try:
        disk = fsync(folder)
        with Headgate("app:app", folder, *options, app_folder=HERE) as server:
            alone = producers(server, 1, seconds)
            many = producers(server, PRODUCERS, seconds)
            burst = json.loads(_start(server, "burst.py", str(BURST)).communicate(timeout=120)[0])
            idle = json.loads(_start(server, "consumer.py", str(jobs)).communicate(timeout=120)[0])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "fsync_p50": disk,
        "alone_p50": percentile(alone["times"], 50),
        "alone_p99": percentile(alone["times"], 99),
        "alone_rate": alone["rate"],
        "many_rate": many["rate"],
        "many_p50": percentile(many["times"], 50),
        "many_p99": percentile(many["times"], 99),
        "noop_rate": burst["rate"],
        "first_p50": percentile(idle["first"], 50),
        "first_p99": percentile(idle["first"], 99),
        "result_p50": percentile(idle["result"], 50),
        "result_p99": percentile(idle["result"], 99),
    }


def _start(server: Headgate, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=HERE,
        env={**os.environ, "HEADGATE_DATA": str(server.data)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def producers(server: Headgate, count: int, seconds: float) -> dict[str, Any]:
    """Several producer processes that start together: all their times, and the jobs per second of all."""
    running = [_start(server, "producer.py", str(seconds)) for _ in range(count)]
    for process in running:
        if process.stdout is None or process.stdout.readline().strip() != "ready":
            raise RuntimeError("a producer could not enqueue; its error is above")
    outputs = []
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in running:
        outputs.append(json.loads(process.communicate(timeout=seconds + 60)[0]))
    rate = sum(len(output["times"]) / output["span"] for output in outputs)
    return {"times": [value for output in outputs for value in output["times"]], "rate": rate}


def fsync(folder: Path, count: int = 200) -> float:
    """p50 seconds of appending 4 KiB and syncing it: what the disk alone takes."""
    block, times = os.urandom(4096), []
    with (folder / "disk").open("wb", buffering=0) as file:
        for _ in range(count):
            before = time.perf_counter()
            file.write(block)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - before)
    return percentile(times, 50)


def measure(quick: bool = False) -> Result:
    """Fresh servers, medians of the rounds."""
    rounds, seconds, jobs = (1, 2.0, 50) if quick else (ROUNDS, SECONDS, JOBS)
    raw = []
    for number in range(rounds):
        raw.append(turn(seconds, jobs))
        shown = ", ".join(f"{key} {value:.5g}" for key, value in raw[-1].items())
        print(f"jobs_quick: round {number + 1}/{rounds} {shown}", flush=True)
    return _result(median_row(raw), raw, rounds, seconds, jobs)


def _result(row: dict[str, float], raw: list[dict[str, float]], rounds: int, seconds: float, jobs: int) -> Result:
    rows = [
        ["enqueue, one producer", *_times(row, "alone"), f"{row['alone_rate']:,.0f}"],
        [f"enqueue, {PRODUCERS} producers", *_times(row, "many"), f"{row['many_rate']:,.0f}"],
        ["jobs that do nothing, 2 job workers", "–", "–", f"{row['noop_rate']:,.0f}"],
        ["enqueue → first line of the job, idle", *_times(row, "first"), "–"],
        ["enqueue → result in the caller, idle", *_times(row, "result"), "–"],
    ]
    return Result(
        name="jobs_quick",
        title="Jobs: how soon one is safe, and how soon it runs",
        question="How long does a durable enqueue take, how many fit in a second, and when does the job's code begin?",
        setup=[
            f"embedded engine with its defaults (SQLite, synchronous=FULL, group commit); {rounds} rounds, each on a"
            f" fresh data folder; the disk alone takes {milliseconds(row['fsync_p50'])} ms (p50) to sync 4 KiB",
            f"producers are processes of their own that enqueue one job after the other for {seconds:g} s,"
            " 200 bytes of arguments each, into a queue that no worker serves",
            f"{BURST:,} jobs that do nothing are put with `enqueue_many` and run by 2 job workers, results kept",
            f"idle: {jobs} jobs, one every 20 ms after the one before has ended, 2 job workers",
        ],
        tables=[Table("Medians of the rounds", ["what", "p50 ms", "p99 ms", "jobs/s"], rows)],
        ratios=[
            Ratio("durable enqueue, p50", f"{milliseconds(row['alone_p50'])} ms", "≤ 1 ms", row["alone_p50"] <= 0.001),
            Ratio("enqueues/s, 8 producers", f"{row['many_rate']:,.0f}", "≥ 5,000", row["many_rate"] >= 5000),
            Ratio("no-op jobs/s, 2 workers", f"{row['noop_rate']:,.0f}", "≥ 4,000", row["noop_rate"] >= 4000),
            Ratio(
                "enqueue → result, p50", f"{milliseconds(row['result_p50'])} ms", "≤ 3 ms", row["result_p50"] <= 0.003
            ),
            Ratio(
                "enqueue → result, p99", f"{milliseconds(row['result_p99'])} ms", "≤ 15 ms", row["result_p99"] <= 0.015
            ),
            Ratio(
                "enqueue → first line, p50", f"{milliseconds(row['first_p50'])} ms", "≤ 3 ms", row["first_p50"] <= 0.003
            ),
        ],
        plots=[],
        versions={"headgate": installed(sys.executable)["headgate"], "SQLite": sqlite3.sqlite_version},
        raw={"rounds": raw},
    )


def _times(row: dict[str, float], name: str) -> list[str]:
    return [milliseconds(row[f"{name}_p50"]), milliseconds(row[f"{name}_p99"])]
