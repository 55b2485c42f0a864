"""The long forms of the Redis faults, for `tools/soak tests/faults/soak_redis.py`.

`SOAK_REDIS_MINUTES` (3) of all faults mixed, and a partition of 30 s with the leases that are the default.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.support.proxy import Proxy
from tests.support.redis import Redis
from tests.support.redis_crew import RedisLedger, redis_crew
from tests.support.wait import until

MINUTES = float(os.environ.get("SOAK_REDIS_MINUTES", "3"))
SEED = int(os.environ.get("SOAK_REDIS_SEED", str(random.SystemRandom().randrange(1 << 30))))
PARTITION = 30.0
DURABLE = {"appendonly": "yes", "appendfsync": "everysec"}


@pytest.mark.timeout(3_600)
def test_minutes_of_mixed_faults(tmp_path: Path) -> None:
    with Redis(DURABLE) as server, Proxy(server.port) as proxy:
        far = f"redis://127.0.0.1:{proxy.port}/0"
        with redis_crew(tmp_path, server, job_lease=2.0) as crew:
            crew.move(far)
            crew.start_worker()
            ledger = RedisLedger(crew, SEED, proxy)
            ledger.run(MINUTES * 60)
            ledger.reckon()
            print(  # noqa: T201 - the figures are what a soak is for
                f"\nseed {SEED}; faults {dict(sorted(ledger.done.items()))}; acknowledged {len(ledger.acknowledged)}, "
                f"refused {ledger.refused}, runs {len(crew.ledger())}"
            )


@pytest.mark.timeout(600)
def test_a_partition_of_thirty_seconds(tmp_path: Path) -> None:
    with Redis(DURABLE) as server, Proxy(server.port) as proxy, redis_crew(tmp_path, server, workers=0) as crew:
        crew.start_elsewhere(f"redis://127.0.0.1:{proxy.port}/0")
        job = crew.app.held_up_once.enqueue("line")
        until(lambda: crew.ledger() == ["line"], "the job runs on the far machine")
        proxy.cut()
        crew.start_worker()
        # The lease is 15 s by default.
        assert job.wait(PARTITION) == 2
        proxy.heal()
        assert crew.app.write.enqueue("after").wait(60) is not None
        record = crew.bridge.get(job.id)
        assert record is not None
        assert (record.tries, record.losses) == (2, 1)
