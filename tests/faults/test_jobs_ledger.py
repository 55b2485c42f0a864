"""The short form of the soak: a few seconds of random faults, then the reckoning."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.jobs_app import crew
from tests.support.jobs_ledger import Ledger


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_acknowledged_is_lost_under_random_faults(tmp_path: Path, seed: int) -> None:
    with crew(tmp_path, workers=2, job_lease=2.0) as hired:
        ledger = Ledger(hired, seed)
        ledger.run(seconds=8)
        ledger.reckon()
        assert len(ledger.acknowledged) > 20
