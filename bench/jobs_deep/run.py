"""Enqueue and claim with an empty queue and with a million jobs waiting in it: one broker, one data folder."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from bench.peers import installed
from bench.result import Ratio, Result, Table, milliseconds
from headgate.base.model import Claim, JobSpec, Outcome, Settlement, new_id
from headgate.base.ports import Engine
from headgate.config.settings import Settings
from headgate.drivers.embedded.client import EmbeddedEngine
from tests.support.roles import RoleProcess

BACKLOG, SINGLES, BURST = 1_000_000, 1_000, 6_400
BURSTS = 5
"""Parts of a burst, of which the middle one counts."""
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
    """All figures at the depth that there is; as many jobs come as go."""
    enqueue = await enqueues(engine, singles)
    claim = await claims(engine, singles)
    for _ in range(jobs // AT_ONCE + 1):
        await engine.sink.put([spec() for _ in range(AT_ONCE)])
    rates = [await burst(engine, jobs // BURSTS) for _ in range(BURSTS)]
    return {"enqueue": enqueue, "claim": claim, "burst": middle(rates)}


async def turn(folder: Path, backlog: int, singles: int, jobs: int) -> dict[str, dict[str, float]]:
    """Empty, filled, and looked at again; empty and full are looked at twice, the first time to warm up."""
    engine = EmbeddedEngine(folder / "run" / "broker.sock")
    await engine.open()
    try:
        await look(engine, singles // 4, jobs // 4)
        empty = await look(engine, singles, jobs)
        began = time.perf_counter()
        for _ in range(backlog // AT_ONCE):
            await engine.sink.put([spec() for _ in range(AT_ONCE)])
        filled = time.perf_counter() - began
        await look(engine, singles // 4, jobs // 4)
        return {"empty": empty, "deep": {**await look(engine, singles, jobs), "fill": backlog / filled}}
    finally:
        await engine.close()


def measure(quick: bool = False) -> Result:
    """One fresh broker with a file on disk."""
    backlog, singles, jobs = (20_000, 200, 1_280) if quick else (BACKLOG, SINGLES, BURST)
    folder = Path(tempfile.mkdtemp(prefix="hg-deep-", dir="/tmp"))
    broker = RoleProcess("broker", Settings(data=str(folder), queue_depth=2 * BACKLOG), folder).wait_ready()
    try:
        raw = asyncio.run(turn(folder, backlog, singles, jobs))
    finally:
        broker.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return _result(raw, backlog, singles, jobs)


def _result(raw: dict[str, dict[str, float]], backlog: int, singles: int, jobs: int) -> Result:
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
            "embedded engine with its defaults, but for queue_depth; one queue, one client, asynchronous",
            f"{singles:,} single calls, one after the other, and {jobs:,} jobs in batches; each looked at twice, the"
            " second time counts",
            f"the backlog was put {AT_ONCE:,} to a commit: {deep['fill']:,.0f} jobs/s",
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
