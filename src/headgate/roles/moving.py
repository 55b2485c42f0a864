"""Moving from one engine to another: all that an embedded broker holds goes to a Redis."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from headgate.base.clock import SystemClock
from headgate.base.errors import ConfigError
from headgate.broker.lock import InstanceLock
from headgate.config.settings import Settings
from headgate.drivers.local import dump
from headgate.drivers.local.store import Store
from headgate.roles.choose import is_shared, open_engine
from headgate.roles.limits import limits_of


class Copied(msgspec.Struct):
    """What a copy has moved."""

    jobs: int = 0
    streams: int = 0
    known: int = 0
    """Jobs and streams that were there already, and were left as they are."""
    released: int = 0
    """Jobs that were running; they are queued there."""


def copy(source: Path, target: str, settings: Settings) -> Copied:
    """Copy everything; the source stays as it is, except that what ran in it is queued again.

    Args:
        source: the file of an embedded broker that does not run.
        target: the URL of a Redis.
        settings: the bounds of both.

    Raises:
        ConfigError: the source is no broker's file, or its broker runs; the target is no Redis.
        Unavailable: the target does not answer.
    """
    if not is_shared(target):
        raise ConfigError(f"{target} is no engine to copy to: name a Redis, as redis://HOST:PORT")
    if not source.is_file():
        raise ConfigError(f"there is no file {source}; an embedded broker's is <data folder>/broker.db")
    lock = InstanceLock(source.parent)
    try:
        store = Store(source, SystemClock(), limits_of(settings))
        try:
            return asyncio.run(_copy(store, target, settings))
        finally:
            store.close()
    finally:
        lock.release()


async def _copy(store: Store, target: str, settings: Settings) -> Copied:
    from headgate.drivers.redis import RedisEngine, restore

    engine = open_engine(target, settings.data, settings)
    assert isinstance(engine, RedisEngine)
    await engine.open()
    try:
        done = Copied(released=dump.release(store))
        # Rules first: a paused queue must not be worked on while it fills.
        for queue, rules in dump.rules(store).items():
            await engine.operations.set_queue(queue, **msgspec.to_builtins(rules))
        for job in dump.jobs(store):
            new = await restore.job(engine.run, job)
            done.jobs, done.known = done.jobs + new, done.known + (not new)
        for stream in dump.streams(store):
            new = await restore.stream(engine.run, stream)
            done.streams, done.known = done.streams + new, done.known + (not new)
        await engine.restore_crons(dump.crons(store))
        return done
    finally:
        await engine.close()
