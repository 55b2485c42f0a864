"""The long form of the kill test, for `tools/soak`: `SOAK_KILLS` (200) kills on each database."""

from __future__ import annotations

import os
import random

import pytest

from tests.bulk import killing
from tests.bulk.conftest import Store

KILLS = int(os.environ.get("SOAK_KILLS", "200"))
ROWS = 12_000


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("store", ["postgresql", "mariadb", "sqlite", "anydb"], indirect=True)
def test_every_row_once_through_many_kills(store: Store) -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")  # noqa: T201 - shown if it fails, to fail again
    killing.prepare(store)
    writes = killing.kill_often(store, KILLS, ROWS, seed)
    killing.check(store, ROWS, writes)
