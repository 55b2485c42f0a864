"""From the `broker` setting to an engine: the one place that knows the drivers by name."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from headgate.base.errors import ConfigError
from headgate.base.ports import Engine
from headgate.config.folder import DataFolder
from headgate.config.settings import Settings
from headgate.drivers.bridge import Bridge
from headgate.drivers.embedded.client import EmbeddedEngine
from headgate.roles import carriers
from headgate.roles.limits import limits_of

SHARED: Final = ("redis", "rediss", "valkey", "valkeys")
"""Schemes of engines that are servers of their own."""


def is_shared(url: str) -> bool:
    """Whether the engine is a server of its own, which many machines may share; then no broker process is ours."""
    scheme, found, _ = url.partition("://")
    return bool(found) and scheme.partition("+")[0] in SHARED


def open_engine(
    url: str,
    data: str | Path,
    settings: Settings | None = None,
    *,
    worker: str | None = None,
    member: Callable[[], tuple[str, bytes]] | None = None,
    carries: bool = False,
) -> Engine:
    """The engine of a `broker` setting, not yet open.

    Args:
        url: "embedded", "memory" (the same process, with nothing on disk), "unix:PATH" of a broker's socket, or the
            URL of a Redis or Valkey.
        data: the data folder.
        settings: for engines that need more than that.
        worker: the name of the job worker whose claims end with this connection, if the caller is one.
        member: name and facts under which a shared engine lists this process.
        carries: whether this process hands jobs to RQ and Celery, where they are installed.

    Raises:
        ConfigError: no engine goes by that name.
    """
    if url in ("embedded", "memory"):
        return EmbeddedEngine(DataFolder(data).broker, worker=worker)
    if url.startswith("unix:"):
        return EmbeddedEngine(Path(url.removeprefix("unix:")), worker=worker)
    if is_shared(url):
        return _redis(url, settings or Settings(), member, carries)
    raise ConfigError(
        f'no engine goes by broker = "{url}"; there are "embedded", "memory", "unix:PATH" and '
        '"redis://HOST:PORT" (also rediss, redis+sentinel, redis+cluster, valkey)'
    )


def _redis(url: str, settings: Settings, member: Callable[[], tuple[str, bytes]] | None, carries: bool) -> Engine:
    try:
        from headgate.drivers.redis import RedisEngine
    except ModuleNotFoundError as exc:
        raise ConfigError(
            f'broker = "{url.partition("://")[0]}://…" needs the package {exc.name}: pip install "headgate[redis]"'
        ) from exc
    engine = RedisEngine(url, limits=limits_of(settings), wait_replicas=settings.wait_replicas, member=member)
    if carries:
        for carrier, send in carriers.senders(url, settings).items():
            engine.carry(carrier, send)
        if member is not None:  # a script may leave it to the hosted processes, whose settings are all there
            engine.refuse(carriers.unreachable(url, settings))
    return engine


def open_bridge(
    url: str,
    data: str | Path,
    settings: Settings | None = None,
    *,
    worker: str | None = None,
    member: Callable[[], tuple[str, bytes]] | None = None,
    carries: bool = True,
) -> Bridge:
    """The same engine for threads, not yet open."""
    engine = open_engine(url, data, settings, worker=worker, member=member, carries=carries)
    return Bridge(engine, new_loop=fastest_loop())


def fastest_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes event loops: uvloop where it is installed."""
    with contextlib.suppress(ImportError):
        import uvloop

        return uvloop.new_event_loop
    return asyncio.new_event_loop
