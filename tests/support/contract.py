"""Small words for tests of engines: specs, claims, settlements, waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from headgate.base.model import Claim, Event, Failure, JobSpec, Outcome, Settlement, new_id
from headgate.base.ports import Engine
from headgate.drivers.local.store import Limits

T = TypeVar("T")

LIMITS = Limits(lease=15.0, queue_depth=50, stream_events=100, stream_ttl=3600.0)
"""Bounds that a test can reach."""


class Ordered:
    """A `StopSignal` in the hand of the test."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def order(self) -> None:
        self._event.set()

    async def wait(self) -> float:
        await self._event.wait()
        return 5.0

    def is_set(self) -> bool:
        return self._event.is_set()


def spec(function: str = "shop:reprice", **options: Any) -> JobSpec:
    return JobSpec(id=new_id(), function=function, arguments=msgspec.msgpack.encode([[], {}]), **options)


def packed_call(function: str, *args: Any, **options: Any) -> JobSpec:
    """A job with these positional arguments."""
    return JobSpec(id=new_id(), function=function, arguments=msgspec.msgpack.encode([args, {}]), **options)


async def put(engine: Engine, **options: Any) -> JobSpec:
    """Enqueue one job."""
    job = spec(**options)
    await engine.sink.put([job])
    return job


async def take(engine: Engine, worker: str = "w1", most: int = 1, queues: tuple[str, ...] = ("*",)) -> list[Claim]:
    return list(await asyncio.wait_for(engine.source.take(worker, queues, most), 10))


async def nothing_to_take(engine: Engine, worker: str = "idle", queues: tuple[str, ...] = ("*",)) -> bool:
    """Whether a take waits. The engine has looked when it answers a later request on the same connection."""
    waiting = asyncio.ensure_future(engine.source.take(worker, queues, 1))
    await asyncio.sleep(0)
    for _ in range(3):
        await engine.jobs.stats()
    idle = not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    return idle


def said(claim: Claim, outcome: Outcome, **more: Any) -> Settlement:
    return Settlement(id=claim.job.id, epoch=claim.job.epoch, outcome=outcome, **more)


async def settle(engine: Engine, claim: Claim, outcome: Outcome = Outcome.SUCCEEDED, **more: Any) -> bool:
    """End a claim; what the engine answers."""
    if outcome is Outcome.FAILED and "failure" not in more:
        more["failure"] = Failure("ValueError", "no such table", "Traceback …")
    (accepted,) = await engine.source.settle(claim.job.worker or "w1", [said(claim, outcome, **more)])
    return accepted


async def kinds(engine: Engine, job_id: str) -> list[str]:
    """The kinds of events in a job's stream."""
    return [event.kind for event in (await engine.streams.read(f"jobs/{job_id}", 0)).events]


async def collect(engine: Engine, stream: str, after: int = 0) -> list[Event]:
    """Follow to the terminal event."""
    return [event async for event in engine.streams.follow(stream, after)]


async def eventually(condition: Callable[[], Awaitable[T]], what: str, seconds: float = 10.0) -> T:
    """Await `condition` until it gives something true."""
    until = asyncio.get_running_loop().time() + seconds
    while True:
        found = await condition()
        if found:
            return found
        assert asyncio.get_running_loop().time() < until, f"{what}: not within {seconds:g} s"
        await asyncio.sleep(0.01)
