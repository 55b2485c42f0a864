"""The engines that the contract is checked against, each with a clock that the test turns."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from headgate.base.clock import ManualClock
from headgate.base.ports import Engine
from headgate.broker.server import Broker
from headgate.drivers.embedded.client import EmbeddedEngine
from headgate.drivers.local.store import Limits
from headgate.drivers.memory import MemoryEngine
from tests.support import redis as redis_servers
from tests.support import redis_rig
from tests.support.contract import LIMITS, Ordered
from tests.support.redis import Redis, RedisCluster, oldest
from tests.support.redis_rig import RemoteClock


@dataclass
class Rig:
    """An open engine and the clock that it goes by."""

    engine: Engine
    clock: ManualClock


@pytest.fixture(params=["memory", "embedded", "redis", "redis_6_2", "valkey", "redis_cluster"])
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    if request.param not in ("memory", "embedded"):
        turned = RemoteClock()
        made = redis_rig.engine(request.getfixturevalue(request.param), turned, LIMITS)
        await made.open()
        yield Rig(made, turned)
        await made.close()
        return
    clock = ManualClock()
    make = _memory if request.param == "memory" else _embedded
    async with make(clock, tmp_path, LIMITS) as engine:
        yield Rig(engine, clock)


@pytest.fixture(scope="session")
def redis() -> Iterator[str]:
    """The URL of a Redis as it comes."""
    with Redis() as server:
        yield server.url


@pytest.fixture(scope="session")
def redis_6_2() -> Iterator[str]:
    """The oldest one that is supported: it has no functions."""
    with Redis(binary=oldest()) as server:
        yield server.url


@pytest.fixture(scope="session")
def valkey() -> Iterator[str]:
    """The other one that goes by this protocol."""
    with Redis(binary=redis_servers.valkey()) as server:
        yield server.url


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[str]:
    """Three masters; the keys of one namespace lie on one of them."""
    with RedisCluster() as cluster:
        yield cluster.url


@contextlib.asynccontextmanager
async def _memory(clock: ManualClock, folder: Path, limits: Limits) -> AsyncIterator[Engine]:
    engine = MemoryEngine(clock=clock, limits=limits)
    await engine.open()
    yield engine
    await engine.close()


@contextlib.asynccontextmanager
async def _embedded(clock: ManualClock, folder: Path, limits: Limits) -> AsyncIterator[Engine]:
    ready, stop = asyncio.Event(), Ordered()
    broker = asyncio.create_task(Broker(folder, limits, clock=clock).run(ready.set, stop))
    await asyncio.wait_for(ready.wait(), 10)
    engine = EmbeddedEngine(folder / "run" / "broker.sock")
    await engine.open()
    yield engine
    await engine.close()
    stop.order()
    await asyncio.wait_for(broker, 10)
