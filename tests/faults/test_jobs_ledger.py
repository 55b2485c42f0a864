"""The short form of the soak: a few seconds of random faults, then the reckoning."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.jobs_ledger import Ledger, broken


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_acknowledged_is_lost_under_random_faults(tmp_path: Path, seed: int) -> None:
    with broken(tmp_path, seed) as ledger:
        ledger.run(seconds=8)
        ledger.reckon()
        assert len(ledger.acknowledged) > 20


@pytest.mark.parametrize(
    "fault", [Ledger.step_clock, Ledger.fill_disk, Ledger.cut_power, Ledger.kill_producer], ids=lambda one: one.__name__
)
def test_each_rare_fault_happens_and_is_got_over(tmp_path: Path, fault: object) -> None:
    with broken(tmp_path, 3) as ledger:
        ledger.run(0, only=[fault] * 3)
        ledger.reckon()
        assert ledger.done[fault.__name__] == 3  # type: ignore[attr-defined]
        assert len(ledger.acknowledged) > 3
