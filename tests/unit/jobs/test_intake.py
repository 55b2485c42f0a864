"""Filling lists of jobs: never for so long that a claim could be lost meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from headgate.base.model import Claim, JobRecord, JobSpec, JobState
from headgate.declare.job import Batching
from headgate.jobs.appetite import Appetite
from headgate.jobs.intake import Intake

pytestmark = pytest.mark.anyio


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.at = 0.0

    def monotonic(self) -> float:
        return self.at

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


class Source:
    """One job of each function, then nothing for ever."""

    def __init__(self, claims: list[Claim]) -> None:
        self.claims = claims

    async def take(self, worker: str, queues: Sequence[str], most: int, functions: Sequence[str]) -> Sequence[Claim]:
        if self.claims:
            found, self.claims = self.claims, []
            return found
        await asyncio.Event().wait()
        raise AssertionError


def claim(function: str) -> Claim:
    spec = JobSpec(id=function, function=function, arguments=msgspec.msgpack.encode([[1], {}]))
    return Claim(JobRecord(spec=spec, state=JobState.RUNNING, tries=1), lease=15.0)


async def test_all_lists_together_wait_for_a_third_of_the_lease_at_most() -> None:
    clock, given = Clock(), list[tuple[str, float]]()
    lists = {name: Batching(100, 20.0) for name in ("a:one", "a:two")}
    source: Any = Source([claim("a:one"), claim("a:two")])

    both = asyncio.Event()

    def give(claims: Sequence[Claim], _: bool) -> None:
        given.extend((each.job.spec.function, clock.at) for each in claims)
        if len(given) == 2:
            both.set()

    intake = Intake("w", source, clock, ["*"], list(lists), lists, Appetite(), lambda: 0, give)
    working = asyncio.create_task(intake.work())
    await asyncio.wait_for(both.wait(), 20)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    assert sorted(name for name, _ in given) == ["a:one", "a:two"]
    assert max(at for _, at in given) <= 5.0, "the engine would take them for lost after 15 s"
