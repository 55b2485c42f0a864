"""Jobs per second, time to the result and idle cost of the Redis engine, without the app's own work around it.

Two worker processes claim and settle no-op jobs; with real job workers, beside other engines: `bench/jobs`.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from multiprocessing.synchronize import Event

import msgspec
import uvloop

from bench.peers import installed
from bench.result import Ratio, Result, Table, median_row
from bench.rounds import Rounds, Row
from headgate.base.model import JobSpec, Outcome, Settlement, new_id
from headgate.drivers.redis import RedisEngine
from tests.support.redis import Redis

JOBS = 20_000
WORKERS, ROUNDS = 2, 3
HABITS = {"one by one": 1, "64 at once": 64}
"""How many jobs a worker claims at a time."""
PINGS = 300
IDLE = 10.0
"""Seconds that the workers wait for nothing."""
NOTHING = msgspec.msgpack.encode(None)


def spec() -> JobSpec:
    return JobSpec(id=new_id(), function="bench:noop", arguments=msgspec.msgpack.encode([[], {}]))


def work(url: str, name: str, most: int, stop: Event) -> None:
    """Claim and settle until told to stop."""

    async def go() -> None:
        engine = RedisEngine(url)
        await engine.open()
        while not stop.is_set():
            try:
                claims = await asyncio.wait_for(engine.source.take(name, ["*"], most), 0.5)
            except TimeoutError:
                continue
            done = [
                Settlement(id=one.job.id, epoch=one.job.epoch, outcome=Outcome.SUCCEEDED, result=NOTHING)
                for one in claims
            ]
            await engine.source.settle(name, done)
        await engine.close()

    uvloop.run(go())


async def count(engine: RedisEngine, state: str) -> int:
    return (await engine.jobs.stats()).get("default", {}).get(state, 0)


async def throughput(engine: RedisEngine) -> float:
    """Jobs per second from when both workers are at it to when the queue is empty."""
    for _ in range(JOBS // 500):
        await engine.sink.put([spec() for _ in range(500)])
    before = await count(engine, "succeeded")
    while await count(engine, "succeeded") < before + 500:  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.01)
    at, began = await count(engine, "succeeded"), time.perf_counter()
    while await count(engine, "queued"):  # noqa: ASYNC110 - the same
        await asyncio.sleep(0.02)
    return (await count(engine, "succeeded") - at) / (time.perf_counter() - began)


async def latency(engine: RedisEngine) -> list[float]:
    """Milliseconds from before `put` to the result event, one after the other on an idle engine."""
    took = []
    for _ in range(PINGS):
        began = time.perf_counter()
        job = spec()
        await engine.sink.put([job])
        async for _event in engine.streams.follow(f"jobs/{job.id}", 0):
            pass
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.002)
    return took


def cpu(pid: int) -> float:
    """CPU seconds that a process has used."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def turn(url: str, most: int) -> Row:
    """One measurement with workers that claim so many at once."""
    stop = multiprocessing.Event()
    crew = [multiprocessing.Process(target=work, args=(url, f"w{n}", most, stop)) for n in range(WORKERS)]
    engine = RedisEngine(url)
    await engine.open()
    for one in crew:
        one.start()
    try:
        rate = await throughput(engine)
        took = sorted(await latency(engine))
        before = [cpu(one.pid or 0) for one in crew]
        await asyncio.sleep(IDLE)
        idle = max(cpu(one.pid or 0) - was for one, was in zip(crew, before, strict=True)) / IDLE
        return {"rate": rate, "p50": statistics.median(took), "p99": took[int(len(took) * 0.99)], "idle": idle}
    finally:
        stop.set()
        for one in crew:
            one.join()
        await engine.close()


def measure(quick: bool = False) -> Result:
    """A fresh Redis for each turn."""

    def fresh(key: str) -> Row:
        with Redis() as server:
            return asyncio.run(turn(server.url, HABITS[key]))

    rounds = Rounds("redis_engine", HABITS, 1 if quick else ROUNDS, keep=not quick, expected=20.0)
    raw = rounds.run(fresh, lambda key, row: f"{key}: {row['rate']:,.0f}/s, p50 {row['p50']:.2f} ms")
    single, batched = (median_row(raw[key]) for key in HABITS)
    return Result(
        name="redis_engine",
        title="Redis as the engine",
        question="How many jobs go through a Redis, and how long does a result take?",
        setup=[
            f"{WORKERS} processes claim and settle {JOBS:,} no-op jobs that are waiting, one by one and 64 at once;"
            f" medians of {rounds.rounds} rounds, each with a Redis of its own without persistence",
            f"result: {PINGS} jobs one after the other on the idle engine, from before the enqueue to the result event",
            f"idle: the busier worker's CPU while there has been nothing for {IDLE:g} s",
            "without the app's own work around the jobs; with real job workers, beside other engines: the jobs table",
        ],
        tables=[
            Table(
                "Two workers",
                ["claims", "jobs/s", "result p50 ms", "result p99 ms", "idle CPU"],
                [
                    [key, f"{row['rate']:,.0f}", f"{row['p50']:.2f}", f"{row['p99']:.2f}", f"{row['idle']:.1%}"]
                    for key, row in zip(HABITS, (single, batched), strict=True)
                ],
            )
        ],
        ratios=[
            Ratio("jobs/s, one by one", f"{single['rate']:,.0f}", "≥ 3,000", single["rate"] >= 3_000),
            Ratio("jobs/s, 64 at once", f"{batched['rate']:,.0f}", "≥ 15,000", batched["rate"] >= 15_000),
            Ratio("enqueue to result, p50", f"{single['p50']:.2f} ms", "≤ 2.5 ms", single["p50"] <= 2.5),
            Ratio("CPU of an idle worker", f"{single['idle']:.1%}", "≤ 1 %", single["idle"] <= 0.01),
        ],
        plots=[],
        versions={
            "headgate": installed(sys.executable)["headgate"],
            "Redis": subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True)
            .stdout.partition("v=")[2]
            .split()[0],
        },
        raw={key: raw[key] for key in HABITS},
    )
