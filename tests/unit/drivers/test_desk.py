"""The desk's end: what was acknowledged is stored, also when a commit is under way as it stops."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from headgate.base.clock import SystemClock
from headgate.base.model import JobSpec, new_id
from headgate.drivers.embedded import wire
from headgate.drivers.local.desk import Desk
from headgate.drivers.local.store import Limits, Store

pytestmark = pytest.mark.anyio


class Producer:
    """A peer that remembers its answers."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    def send(self, message: Any) -> None:
        self.got.append(message)

    def say(self, channel: str, payload: bytes) -> None: ...


async def test_stopping_while_a_commit_is_under_way_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "broker.db", SystemClock(), Limits())
    commit = store.commit

    def slow() -> None:
        time.sleep(0.02)
        commit()

    monkeypatch.setattr(store, "commit", slow)
    producer: Any = Producer()
    ids = [new_id() for _ in range(3)]
    with ThreadPoolExecutor(1) as writer:
        desk = Desk(store, SystemClock(), writer)
        desk._sync_time = 1.0  # as after slow commits: they go to the writer's thread
        desk.start()
        for number, job_id in enumerate(ids, 1):
            spec = JobSpec(id=job_id, function="f", arguments=b"\x92\x90\x80")
            desk.submit(producer, wire.Put(number, [spec]))
            await asyncio.sleep(0.005)
        await desk.stop()
    store.db.close()
    acknowledged = {message.n for message in producer.got if isinstance(message, wire.Receipts)}
    assert acknowledged == {1, 2, 3}
    with sqlite3.connect(tmp_path / "broker.db") as db:
        assert {row[0] for row in db.execute("SELECT id FROM jobs")} == set(ids)
    db.close()
