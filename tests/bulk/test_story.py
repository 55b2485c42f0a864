"""The story's update written with `bulk.update`, in a real job on a real Headgate, its workers killed in the middle."""

from __future__ import annotations

import os
import runpy
import signal
from pathlib import Path

import psycopg
import pytest

from tests.support.fixtures import StartHeadgate
from tests.support.marked import bearers
from tests.support.sockets import open_socket
from tests.support.wait import until

STORY = Path(__file__).resolve().parents[2] / "examples" / "story"
FIRST, BLOCK = 4_000, 4_000


@pytest.fixture
def database(postgres_url: str) -> str:
    """The story's table, filled by its own script."""
    runpy.run_path(str(STORY / "schema.py"))["create"](postgres_url)
    return postgres_url


def waits_for_a_lock(database: str) -> bool:
    with psycopg.connect(database) as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        row = connection.execute(query).fetchone()
    return row is not None and row[0] > 0


def kill_job_workers(mark: dict[str, str]) -> int:
    """`kill -9` of every process that runs jobs."""
    killed = 0
    for pid in bearers(mark):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"headgate.roles.jobs" in command:
                os.kill(pid, signal.SIGKILL)
                killed += 1
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended by itself
    return killed


def test_a_killed_update_goes_on_and_changes_each_price_once(database: str, headgate_server: StartHeadgate) -> None:
    server = headgate_server("app_bulk:app", "--jobs", "1", app_folder=STORY, env={"DATABASE_URL": database})
    with psycopg.connect(database) as blocker, open_socket(f"{server.ws_url}/ws") as sock:
        blocker.execute("SELECT 1 FROM prices WHERE id = %s FOR UPDATE", (FIRST + 3_500,))
        sock.send({"type": "update", "id": 1})
        *_, accepted = sock.receive_until(lambda message: "job_id" in message)  # a first event may come before it
        until(lambda: waits_for_a_lock(database), "the second chunk to wait for the lock")
        assert kill_job_workers(server.mark) == 1
        blocker.rollback()
        events = sock.receive_until(lambda message: message.get("event") == "result", 60)
    assert events[-1]["stream"] == f"jobs/{accepted['job_id']}"
    assert events[-1]["data"]["result"] == {"type": "answer", "id": 1, "updated": BLOCK}
    with psycopg.connect(database) as connection:
        found = connection.execute("SELECT min(id), max(id), count(*), max(changes) FROM prices WHERE changes > 0")
        assert found.fetchone() == (FIRST, FIRST + BLOCK - 1, BLOCK, 1)
        checkpoint = connection.execute("SELECT name, epoch, pos, written, done FROM headgate_bulk").fetchone()
    assert checkpoint == (f"job/{accepted['job_id']}/1", 2, BLOCK, BLOCK, True)
