"""Enqueue and claim with an empty queue and with a million jobs waiting: two brokers, looked at in turns."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from bench.jobs_quick.run import fsync
from bench.peers import installed
from bench.result import Ratio, Result, Table, median_row, milliseconds
from headgate.base.model import Claim, JobSpec, Outcome, Settlement, new_id
from headgate.base.ports import Engine
from headgate.config.settings import Settings
from headgate.drivers.embedded.client import EmbeddedEngine
from tests.support.roles import RoleProcess

BACKLOG, ROUNDS, SINGLES, BURST = 1_000_000, 7, 300, 3_200
CALM = 60.0
"""Seconds that the disk has to become as fast as before the backlog was written."""
AT_ONCE = 1_000
"""Jobs in one commit while the backlog is made."""
_ARGUMENTS = msgspec.msgpack.encode([[1, "x" * 100], {}])


def spec(queue: str = "deep") -> JobSpec:
    return JobSpec(id=new_id(), function="bench:noop", arguments=_ARGUMENTS, queue=queue, created_at=time.time())


def middle(times: list[float]) -> float:
    return sorted(times)[len(times) // 2]


async def enqueues(engine: Engine, count: int) -> float:
    """The median time of one enqueue, one after the other."""
    times = []
    for _ in range(count):
        before = time.perf_counter()
        await engine.sink.put([spec()])
        times.append(time.perf_counter() - before)
    return middle(times)


async def claims(engine: Engine, count: int) -> float:
    """The median time of claiming one job and settling it, one after the other."""
    times = []
    for _ in range(count):
        before = time.perf_counter()
        taken = await engine.source.take("bench", ["*"], 1, ["bench:noop"])
        await settle(engine, taken)
        times.append(time.perf_counter() - before)
    return middle(times)


async def burst(engine: Engine, count: int) -> float:
    """Jobs per second claimed 64 at a time and settled together, as a worker does with short ones."""
    before, done = time.perf_counter(), 0
    while done < count:
        taken = await engine.source.take("bench", ["*"], 64, ["bench:noop"])
        await settle(engine, taken)
        done += len(taken)
    return done / (time.perf_counter() - before)


async def settle(engine: Engine, taken: object) -> None:
    assert isinstance(taken, list)
    ends = [_done(one) for one in taken]
    await engine.source.settle("bench", ends)


def _done(one: Claim) -> Settlement:
    return Settlement(id=one.job.id, epoch=one.job.epoch, outcome=Outcome.SUCCEEDED, result=b"\xc0")


async def look(engine: Engine, singles: int, jobs: int) -> dict[str, float]:
    """All figures at the depth that there is; as many jobs go as come."""
    enqueue = await enqueues(engine, singles)
    claim = await claims(engine, singles)
    for _ in range(jobs // AT_ONCE + 1):
        await engine.sink.put([spec() for _ in range(AT_ONCE)])
    rate = await burst(engine, jobs)
    await burst(engine, (jobs // AT_ONCE + 1) * AT_ONCE - jobs)
    return {"enqueue": enqueue, "claim": claim, "burst": rate}


async def fill(engine: Engine, backlog: int) -> float:
    """Make the backlog; jobs per second."""
    began = time.perf_counter()
    for _ in range(backlog // AT_ONCE):
        await engine.sink.put([spec() for _ in range(AT_ONCE)])
    return backlog / (time.perf_counter() - began)


def calm(folder: Path, before: float) -> None:
    """Wait until syncing takes as long as before: hundreds of megabytes were just written."""
    until = time.monotonic() + CALM
    while fsync(folder) > 1.2 * before and time.monotonic() < until:
        time.sleep(2.0)


async def rounds(folders: list[Path], backlog: int, count: int, singles: int, jobs: int) -> dict[str, Any]:
    """The empty and the deep broker in turns, so that both see the same machine."""
    engines = [EmbeddedEngine(folder / "run" / "broker.sock") for folder in folders]
    for engine in engines:
        await engine.open()
    before = fsync(folders[0])
    filled = await fill(engines[1], backlog)
    calm(folders[0], before)
    seen: list[list[dict[str, float]]] = [[], []]
    for number in range(count + 1):
        for at, engine in enumerate(engines):
            found = await look(engine, singles, jobs)
            if number:  # the first round warms up
                seen[at].append(found)
    for engine in engines:
        await engine.close()
    return {"empty": median_row(seen[0]), "deep": median_row(seen[1]), "fill": filled, "rounds": seen}


def measure(quick: bool = False) -> Result:
    """Two fresh brokers, each with a file on disk."""
    backlog, count, singles, jobs = (20_000, 2, 100, 640) if quick else (BACKLOG, ROUNDS, SINGLES, BURST)
    folders = [Path(tempfile.mkdtemp(prefix="hg-deep-", dir="/tmp")) for _ in range(2)]
    brokers = []
    try:
        for folder in folders:
            settings = Settings(data=str(folder), queue_depth=2 * BACKLOG)
            brokers.append(RoleProcess("broker", settings, folder).wait_ready())
        raw = asyncio.run(rounds(folders, backlog, count, singles, jobs))
    finally:
        for broker, folder in zip(brokers, folders, strict=False):
            broker.stop()
            shutil.rmtree(folder, ignore_errors=True)
    return _result(raw, backlog, count, singles, jobs)


def _result(raw: dict[str, Any], backlog: int, count: int, singles: int, jobs: int) -> Result:
    empty, deep = raw["empty"], raw["deep"]
    slower = {
        "enqueue": deep["enqueue"] / empty["enqueue"],
        "claim": deep["claim"] / empty["claim"],
        "burst": empty["burst"] / deep["burst"],
    }
    rows = [
        ["enqueue one, p50 ms", milliseconds(empty["enqueue"]), milliseconds(deep["enqueue"])],
        ["claim one and settle it, p50 ms", milliseconds(empty["claim"]), milliseconds(deep["claim"])],
        ["claimed 64 at a time and settled, jobs/s", f"{empty['burst']:,.0f}", f"{deep['burst']:,.0f}"],
    ]
    for row, name in zip(rows, ("enqueue", "claim", "burst"), strict=True):
        row.append(f"{slower[name]:.2f}×")
    return Result(
        name="jobs_deep",
        title=f"Jobs: {backlog:,} of them waiting",
        question="Do a million waiting jobs make an enqueue or a claim slower?",
        setup=[
            "two embedded brokers with their defaults, but for queue_depth: one is empty, the other has the backlog;"
            f" one asynchronous client looks at them in turns, medians of {count} rounds",
            f"a round: {singles:,} single enqueues, {singles:,} single claims, and {jobs:,} jobs claimed 64 at a time",
            f"the backlog was put {AT_ONCE:,} to a commit: {raw['fill']:,.0f} jobs/s",
        ],
        tables=[Table("Empty and deep", ["what", "empty", f"{backlog:,} waiting", "slower by"], rows)],
        ratios=[
            Ratio("enqueue, deep against empty", f"{slower['enqueue']:.2f}×", "≤ 1.5×", slower["enqueue"] <= 1.5),
            Ratio("claim, deep against empty", f"{slower['claim']:.2f}×", "≤ 1.5×", slower["claim"] <= 1.5),
            Ratio("claims in batches, likewise", f"{slower['burst']:.2f}×", "≤ 1.5×", slower["burst"] <= 1.5),
        ],
        plots=[],
        versions={"headgate": installed(sys.executable)["headgate"], "SQLite": sqlite3.sqlite_version},
        raw=raw,
    )
