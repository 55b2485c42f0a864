"""The long forms of the jobs ledger, for `tools/soak tests/faults/soak_jobs.py`.

`SOAK_JOBS_MINUTES` (5) of all faults mixed, and `SOAK_JOBS_KILLS` (1,000) kills of job workers one after the other.
Figures are printed: `-s` shows them while it runs.
"""

from __future__ import annotations

import json
import os
import random
import statistics
from pathlib import Path

import pytest

from tests.support.jobs_app import crew
from tests.support.jobs_ledger import Ledger, broken

MINUTES = float(os.environ.get("SOAK_JOBS_MINUTES", "5"))
KILLS = int(os.environ.get("SOAK_JOBS_KILLS", "1000"))
FIGURES = os.environ.get("SOAK_JOBS_FIGURES", "")
"""A file that gets each run's figures as a line of JSON."""
SEED = int(os.environ.get("SOAK_JOBS_SEED", str(random.SystemRandom().randrange(1 << 30))))


def tell(ledger: Ledger) -> None:
    """What was done and what came of it."""
    if FIGURES:
        with Path(FIGURES).open("a") as figures:
            figures.write(json.dumps({"seed": SEED, "done": ledger.done, "back": ledger.back}) + "\n")
    faults = dict(sorted(ledger.done.items()))
    runs = len(ledger.crew.ledger())
    back = f"median {statistics.median(ledger.back):.3f} s, worst {max(ledger.back):.3f} s" if ledger.back else "–"
    print(  # noqa: T201 - the figures are what a soak is for
        f"\nseed {SEED}; faults {faults}; acknowledged {len(ledger.acknowledged)}, refused {ledger.refused}, "
        f"runs {runs}; jobs of {len(ledger.back)} killed workers running again: {back}"
    )


@pytest.mark.timeout(7_200)
def test_minutes_of_mixed_faults(tmp_path: Path) -> None:
    with broken(tmp_path, SEED, mib=512) as ledger:
        ledger.run(MINUTES * 60)
        ledger.reckon()
        tell(ledger)


@pytest.mark.timeout(7_200)
def test_a_thousand_kills(tmp_path: Path) -> None:
    with crew(tmp_path, workers=2) as hired:
        ledger = Ledger(hired, SEED)
        ledger.run(0, kills=KILLS)
        ledger.reckon()
        tell(ledger)
        assert statistics.median(ledger.back) <= 1.0
