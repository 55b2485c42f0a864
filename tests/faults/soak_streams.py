"""The long forms of the streams' ledger, for `tools/soak tests/faults/soak_streams.py`; `-s` shows the figures.

`SOAK_STREAMS_SECONDS` (60) each: cuts every 2 s; each kind of fault by itself; all of them mixed, by a seed that is
printed; and a stream that keeps so little that slow readers have to be told what they missed.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from tests.support.headgate import Headgate
from tests.support.streams_ledger import ROOT, Ledger

SECONDS = float(os.environ.get("SOAK_STREAMS_SECONDS", "60"))
SEED = int(os.environ.get("SOAK_STREAMS_SEED", str(random.SystemRandom().randrange(1 << 30))))
ENV = {"HEADGATE_STREAM_POLL": "1", "HEADGATE_STREAM_HEARTBEAT": "0.5", "HEADGATE_STREAM_SSE": "10"}
KINDS = ["cut", "gateway", "broker", "nginx", "half-open"]


def play(folder: Path, faults: list[str], every: float = 2.0, crowd: int = 5, **env: str) -> Ledger:
    async def run(server: Headgate) -> Ledger:
        ledger = Ledger(server, SEED)
        await ledger.run(SECONDS, faults, every, crowd)
        return ledger

    app = "tests.support.streams_app:app"
    with Headgate(app, folder, "--gateways", "2", app_folder=ROOT, env={**ENV, **env}) as server:
        ledger = asyncio.run(run(server))
    print(f"\nseed {SEED}, {SECONDS:g} s of {'/'.join(sorted(set(faults)))}: {ledger.told()}")  # noqa: T201 - for people
    ledger.reckon()
    return ledger


@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("kind", KINDS)
def test_one_kind_of_fault_again_and_again(workdir: Path, kind: str) -> None:
    ledger = play(workdir, [kind], every=2.0 if kind in ("cut", "nginx") else 5.0)
    assert not any(one.truncated for one in ledger.followers)


@pytest.mark.timeout(7_200)
def test_all_kinds_mixed(workdir: Path) -> None:
    faults = random.Random(SEED).choices(KINDS, k=1_000)
    ledger = play(workdir, faults)
    assert not any(one.truncated for one in ledger.followers)


@pytest.mark.timeout(7_200)
def test_what_is_not_kept_is_told(workdir: Path) -> None:
    play(workdir, ["half-open", "cut"], every=4.0, HEADGATE_STREAM_EVENTS="100")
