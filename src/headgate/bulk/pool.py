"""Connection pools: one for each process, sized so that all of them fit into the server, with their waits measured."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.pool import PoolProxiedConnection, QueuePool

from headgate.bulk.errors import PoolTimeout, PoolTooLarge
from headgate.bulk.statements import Statements, watch_statements

PROCESSES: Final = "HEADGATE_PROCESSES"
"""Environment variable: how many processes of this application may open the pool."""
SHARE: Final = 0.8
"""The part of the server's connections that a pool of unnamed size may take with all its processes."""
_DEFAULT_SIZE: Final = 10
_SAMPLES: Final = 1_024


class MeasuredPool(QueuePool):
    """A pool that knows how long its callers waited for a connection (health check included)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.waits: deque[float] = deque(maxlen=_SAMPLES)
        self.timeouts = 0

    def connect(self) -> PoolProxiedConnection:
        began = time.perf_counter()
        try:
            return super().connect()
        except sa.exc.TimeoutError as error:
            self.timeouts += 1
            raise PoolTimeout(
                f"all {self.size()} connections of the pool were in use for {self._timeout:g} s; something holds them "
                "too long (see the slow statements in `headgate status`), or the pool is too small for its threads"
            ) from error
        finally:
            self.waits.append(time.perf_counter() - began)


@dataclass(frozen=True)
class Room:
    """What a server allows: connections in all, and those that it keeps for its operators."""

    limit: int
    reserved: int
    source: str

    @property
    def free(self) -> int:
        return self.limit - self.reserved


_pools: weakref.WeakValueDictionary[str, sa.Engine] = weakref.WeakValueDictionary()
_statements: weakref.WeakKeyDictionary[sa.Engine, Statements] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def pool(
    url: str | sa.URL,
    *,
    processes: int | None = None,
    size: int | None = None,
    timeout: float = 10.0,
    recycle: float = 1_800.0,
    slow: float = 0.5,
    repeated: int = 10,
    tag: bool = True,
    name: str | None = None,
    **engine_options: Any,
) -> sa.Engine:
    """A SQLAlchemy engine whose pool fits: every process of the application opens its own.

    Args:
        url: the database.
        processes: how many processes open it; default: what the supervisor says, else 1.
        size: connections of one process; default: an equal share of 80 % of the server's, at most 10.
        timeout: seconds to wait for a free connection before `PoolTimeout`.
        recycle: seconds after which a connection is replaced.
        slow: seconds from which a statement is told in `status`.
        repeated: how often one statement may run within one handler before it is told as an N+1 pattern.
        tag: add the handler's name to each statement as a comment, for the server's own logs.
        name: the pool's name in `status`; default: the database's.
        engine_options: for `sqlalchemy.create_engine`.

    Raises:
        PoolTooLarge: all processes together would open more connections than the server allows.
    """
    count = processes if processes is not None else int(os.environ.get(PROCESSES, "1"))
    url = sa.make_url(url)
    chosen = _fitting(_room(url), count, size)
    options: dict[str, Any] = {"pool_pre_ping": True, "pool_recycle": recycle, **engine_options}
    if not (url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")):
        options |= {"poolclass": MeasuredPool, "pool_size": chosen, "max_overflow": 0, "pool_timeout": timeout}
    engine = sa.create_engine(url, **options)
    _never_inherited(engine)
    with _lock:
        _statements[engine] = watch_statements(engine, slow=slow, repeated=repeated, tag=tag)
        _pools[name or url.database or url.get_backend_name()] = engine
    return engine


def stats() -> Mapping[str, Mapping[str, Any]]:
    """What `headgate status` shows of this process's pools: size, use, waits in milliseconds, statements."""
    with _lock:
        pools = list(_pools.items())
    return {name: _told(engine) for name, engine in pools}


def _told(engine: sa.Engine) -> dict[str, Any]:
    told: dict[str, Any] = {}
    measured = engine.pool
    if isinstance(measured, MeasuredPool):
        waits = sorted(measured.waits)
        told = {
            "size": measured.size(),
            "in_use": measured.checkedout(),
            "timeouts": measured.timeouts,
            "wait_p50_ms": _milliseconds(waits, 0.5),
            "wait_p99_ms": _milliseconds(waits, 0.99),
        }
    statements = _statements.get(engine)
    return told if statements is None else {**told, **statements.tell()}


def _milliseconds(ordered: list[float], share: float) -> float | None:
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1_000, 3) if ordered else None


def _never_inherited(engine: sa.Engine) -> None:
    """A fork must not use its parent's connections: two processes on one would get each other's rows."""
    reference = weakref.ref(engine)

    def in_child() -> None:
        found = reference()
        if found is not None:
            found.dispose(close=False)

    os.register_at_fork(after_in_child=in_child)


def _room(url: sa.URL) -> Room | None:
    """Ask the server; None where it has no limit, or does not answer now (which must not keep an app from booting)."""
    ask = {"postgresql": _ask_postgres, "mysql": _ask_mysql, "mariadb": _ask_mysql}.get(url.get_backend_name())
    if ask is None:
        return None
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    try:
        with engine.connect() as connection:
            return ask(connection)
    except sa.exc.OperationalError:
        return None


def _ask_postgres(connection: sa.Connection) -> Room:
    row = connection.execute(
        sa.text(
            "SELECT current_setting('max_connections')::int, current_setting('superuser_reserved_connections')::int, "
            "(SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user), "
            "(SELECT datconnlimit FROM pg_database WHERE datname = current_database())"
        )
    ).one()
    limits = [(row[0], row[1], "max_connections"), (row[2], 0, "the role's limit"), (row[3], 0, "the database's limit")]
    return min((Room(*limit) for limit in limits if limit[0] is not None and limit[0] >= 0), key=lambda r: r.free)


def _ask_mysql(connection: sa.Connection) -> Room:
    # MySQL and MariaDB let one operator in beyond the limit, so nothing is kept back within it.
    everyone, user = connection.execute(sa.text("SELECT @@max_connections, @@max_user_connections")).one()
    if user and user < everyone:
        return Room(user, 0, "max_user_connections")
    return Room(everyone, 0, "max_connections")


def _fitting(room: Room | None, processes: int, size: int | None) -> int:
    if processes < 1:
        raise ValueError(f"processes={processes}: at least one process opens the pool")
    if room is None:
        return size or _DEFAULT_SIZE
    chosen = size or max(1, min(_DEFAULT_SIZE, int(room.free * SHARE) // processes))
    if chosen * processes > room.free:
        kept = f" − {room.reserved} reserved" if room.reserved else ""
        raise PoolTooLarge(
            f"{processes} processes × {chosen} connections = {chosen * processes}, and the server allows "
            f"{room.limit}{kept} = {room.free} ({room.source}). Lower size= to {room.free // processes}, run fewer "
            "processes, raise the server's limit, or put a pooler (PgBouncer) between"
            if room.free >= processes
            else f"{processes} processes need a connection each, and the server allows {room.limit}{kept} = "
            f"{room.free} ({room.source}). Run fewer processes or raise the server's limit"
        )
    return chosen
