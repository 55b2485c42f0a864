"""Jobs per second, time to the result and idle cost of the Redis engine, without the app's own work around it.

`python -m bench.redis_engine.run` starts a Redis of its own. Two worker processes claim and settle no-op jobs; with
real job workers, beside other engines: `bench/jobs`.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import statistics
import time
from multiprocessing.synchronize import Event
from typing import Any

import msgspec
import uvloop

from headgate.base.model import JobSpec, Outcome, Settlement, new_id
from headgate.drivers.redis import RedisEngine
from tests.support.redis import Redis

JOBS = 20_000
WORKERS = 2
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


async def turn(url: str, most: int) -> dict[str, Any]:
    """One measurement with workers that claim so many at once."""
    stop = multiprocessing.Event()
    crew = [multiprocessing.Process(target=work, args=(url, f"w{n}", most, stop)) for n in range(WORKERS)]
    engine = RedisEngine(url)
    await engine.open()
    for one in crew:
        one.start()
    try:
        found: dict[str, Any] = {"jobs_per_second": round(await throughput(engine))}
        took = sorted(await latency(engine))
        found["result_ms_p50"] = round(statistics.median(took), 2)
        found["result_ms_p99"] = round(took[int(len(took) * 0.99)], 2)
        before = [cpu(one.pid or 0) for one in crew]
        await asyncio.sleep(IDLE)
        found["idle_cpu_percent"] = round(
            max(cpu(one.pid or 0) - was for one, was in zip(crew, before, strict=True)) / IDLE * 100, 2
        )
        return found
    finally:
        stop.set()
        for one in crew:
            one.join()
        await engine.close()


def main() -> None:
    with Redis() as server:
        one = asyncio.run(turn(server.url + "?namespace=one", 1))
        many = asyncio.run(turn(server.url + "?namespace=many", 64))
    print(json.dumps({"one by one": one, "64 at once": many}, indent=2))


if __name__ == "__main__":
    main()
