"""Every event of a stream reaches every follower once and in order, whatever breaks meanwhile: the short form."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.headgate import Headgate
from tests.support.streams_ledger import ROOT, Ledger

ENV = {"HEADGATE_STREAM_POLL": "1", "HEADGATE_STREAM_HEARTBEAT": "0.5", "HEADGATE_STREAM_SSE": "3"}


def test_all_followers_have_all_events_whatever_breaks(workdir: Path) -> None:
    async def run(server: Headgate) -> Ledger:
        ledger = Ledger(server, seed=6)
        await ledger.run(9.0, ["cut", "gateway", "half-open", "broker", "nginx", "cut"], every=1.5)
        return ledger

    app = "tests.support.streams_app:app"
    with Headgate(app, workdir, "--gateways", "2", app_folder=ROOT, env=ENV) as server:
        ledger = asyncio.run(run(server))
    ledger.reckon()
    assert not any(one.truncated for one in ledger.followers)
    assert set(ledger.faults) == {"cut", "gateway", "half-open", "broker", "nginx"}
    assert sum(one.connections for one in ledger.followers) > 3 * len(ledger.followers)
