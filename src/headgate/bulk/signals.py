"""Signals that others suffer, for `Politeness(pause=…)`: functions that return a reason, or None."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from headgate.bulk import target as targets
from headgate.bulk.errors import WrongTarget


def replication_lag(on: Any, seconds: float) -> Callable[[], str | None]:
    """Pause while a standby replays more than `seconds` behind this PostgreSQL primary.

    Args:
        on: the primary, as for `insert`. Its user must be allowed to read `pg_stat_replication` (pg_monitor).
        seconds: the lag that is still accepted.

    Raises:
        WrongTarget: another database; a MySQL source does not know how far its replicas are.
    """
    engine = targets.engine_of(on)
    if engine.dialect.name != "postgresql":
        raise WrongTarget(f"replication_lag asks pg_stat_replication, which {engine.dialect.name} does not have")
    query = sa.text("SELECT max(extract(epoch FROM replay_lag))::float8 FROM pg_stat_replication")

    def signal() -> str | None:
        with engine.connect() as connection:
            lag = connection.execute(query).scalar_one()
        return f"a standby is {lag:.1f} s behind" if lag is not None and lag > seconds else None

    return signal
