"""The short form of `soak_gateway.py`: seconds of seeded faults, and nothing is left of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.fixtures import StartHeadgate
from tests.support.gateway_storm import Storm
from tests.support.steady import APP, PATIENCE, SETTINGS
from tests.support.wait import until

pytestmark = pytest.mark.anyio


async def test_a_storm_leaves_no_descriptor_and_no_connection_behind(
    headgate_server: StartHeadgate, workdir: Path
) -> None:
    (workdir / "stormy.py").write_text(APP)
    server = await asyncio.to_thread(
        headgate_server, "stormy:app", "--workers", "1", "--jobs", "0", "--gateways", "1", app_folder=workdir,
        env=SETTINGS, ready=False,
    )  # fmt: skip
    await asyncio.to_thread(until, server.ready, "the server is ready", 2 * PATIENCE)
    storm = Storm(server, 4)
    await storm.everything_once()
    await storm.calm()
    start = await asyncio.to_thread(storm.processes)
    await storm.blow(12.0, every=2.0)
    figures = await storm.calm()
    end = await asyncio.to_thread(storm.processes)
    assert end["gateway"].descriptors == start["gateway"].descriptors, storm.done
    assert end["gateway"].memory <= start["gateway"].memory + 64 * 1024 * 1024
    assert storm.done["kill"] + storm.done["reload"] + storm.done["both"] >= 2
    assert figures["closed_silent"] >= 1
    assert figures["evicted"] >= 1
    seen = storm.steady.seen
    assert set(seen) <= {"native", "200", "502", "loop", "loop again", "worker_lost", "busy"}, seen
    assert seen["native"] > 20
