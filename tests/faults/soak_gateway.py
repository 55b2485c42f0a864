"""The long storm over the gateway, for `make soak`: `SOAK_GATEWAY_MINUTES` (10), `SOAK_GATEWAY_SEED`.

At the end memory, descriptors and threads of the gateway, the broker and the supervisor are back at their start.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path

import pytest

from tests.support.fixtures import StartHeadgate
from tests.support.gateway_storm import IDLE_SECONDS, Held, Storm
from tests.support.steady import APP, PATIENCE, SETTINGS
from tests.support.wait import until

MINUTES = float(os.environ.get("SOAK_GATEWAY_MINUTES", "10"))
SEED = int(os.environ.get("SOAK_GATEWAY_SEED", str(random.SystemRandom().randrange(1 << 30))))
GROWN = 8 * 1024 * 1024
"""Bytes by which a process may hold more than at the start: what its allocator has not given back."""


@pytest.mark.timeout(7_200)
@pytest.mark.anyio
async def test_minutes_of_faults_leave_nothing_behind(headgate_server: StartHeadgate, workdir: Path) -> None:
    (workdir / "stormy.py").write_text(APP)
    server = await asyncio.to_thread(
        headgate_server, "stormy:app", "--workers", "1", "--jobs", "0", "--gateways", "1", app_folder=workdir,
        env=SETTINGS, ready=False,
    )  # fmt: skip
    await asyncio.to_thread(until, server.ready, "the server is ready", 2 * PATIENCE)
    storm = Storm(server, SEED)
    await storm.everything_once(3)
    start = await rested(storm)
    began = time.monotonic()
    await storm.blow(MINUTES * 60, every=6.0)
    took = time.monotonic() - began
    figures = await storm.calm()
    end = await rested(storm)
    tell(storm, took, start, end, figures)
    for name, before in start.items():
        after = end[name]
        assert after.descriptors == before.descriptors, (name, before, after)
        assert after.threads <= before.threads, (name, before, after)
        assert after.memory <= before.memory + GROWN, (name, before, after)
    assert len(storm.workers()) == 2
    seen = storm.steady.seen
    assert set(seen) <= {"native", "200", "502", "loop", "loop again", "worker_lost", "busy"}, seen
    assert seen["502"] + seen["worker_lost"] <= 8 * (storm.done["kill"] + storm.done["both"]), (
        "only what a killed worker was at"
    )


async def rested(storm: Storm) -> dict[str, Held]:
    """What is held when nobody is there, and idle threads have ended."""
    await storm.calm()
    await asyncio.sleep(IDLE_SECONDS)
    await storm.calm()
    return storm.processes()


def tell(storm: Storm, took: float, start: dict[str, Held], end: dict[str, Held], figures: dict[str, float]) -> None:
    """What was done and what came of it."""
    print(f"\nseed {SEED}; {took:.0f} s; faults {dict(sorted(storm.done.items()))}")  # noqa: T201 - a soak tells
    print(f"steady clients saw {dict(sorted(storm.steady.seen.items()))}")  # noqa: T201
    print(f"gateway: { ({name: int(value) for name, value in figures.items() if value}) }")  # noqa: T201
    for name in start:
        for when, one in (("start", start[name]), ("end", end[name])):
            print(  # noqa: T201
                f"{name} {when}: {one.descriptors} descriptors, {one.threads} threads, {one.memory / 1e6:.1f} MB"
            )
