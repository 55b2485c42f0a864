"""The story's original, an Eventlet service that nobody changed, under `headgate watch run`."""

from __future__ import annotations

import os
import re
import runpy
import sys
from pathlib import Path

import psycopg
import pytest

from bench.peers import EVENTLET, STORY
from headgate.watch import journal
from headgate.watch.model import Incident
from tests.support.process import Process
from tests.support.sockets import open_socket
from tests.support.wait import accepts, free_port, until

SERVICE = STORY / "peer_eventlet" / "run.sh"


@pytest.fixture
def database(postgres_url: str) -> str:
    """The story's table, filled by its own script."""
    runpy.run_path(str(STORY / "schema.py"))["create"](postgres_url)
    return postgres_url


@pytest.mark.timeout(300)  # a fresh checkout makes the peer's environment first
def test_the_eventlet_original_is_told_of_psycopg_and_the_line(database: str, workdir: Path) -> None:
    EVENTLET.prepare()
    port, folder = free_port(), workdir / "watched"
    command = [sys.executable, "-m", "headgate", "watch", "run", "--folder", str(folder), "--", str(SERVICE)]
    path = f"{EVENTLET.path}{os.pathsep}{os.environ['PATH']}"
    env = {"PATH": path, "DATABASE_URL": database, "PORT": str(port)}
    service = Process("watched", command, workdir, env=env)
    try:
        service.wait_ready(lambda: accepts(port), 60)
        with (
            psycopg.connect(database) as blocker,
            open_socket(f"ws://127.0.0.1:{port}/ws") as heavy,
            open_socket(f"ws://127.0.0.1:{port}/ws") as other,
        ):
            blocker.execute("LOCK TABLE prices IN ACCESS EXCLUSIVE MODE")
            heavy.send({"type": "update", "id": 1})
            until(lambda: held_back(database), "the update to wait in the database")
            other.send({"type": "click", "id": 2})  # waits behind it, as the story tells
            blocker.rollback()
            assert heavy.receive(60) == {"type": "answer", "id": 1, "updated": 4000}
            assert other.receive(60) == {"type": "answer", "id": 2}
        incident = until(lambda: stalls(folder), "the incident")[0]
    finally:
        service.stop()
    where = (STORY / "app.py").read_text().splitlines().index("            cursor = connection.execute(") + 1
    assert incident.kind == "eventlet"
    assert incident.call == "psycopg.Connection.execute"
    assert incident.function == "reprice"
    assert Path(incident.file) == STORY / "app.py"
    assert where <= incident.number <= where + 3
    assert incident.handler == "ws /ws"
    assert incident.statement.startswith("UPDATE prices SET price")
    assert "this driver waits in C" in incident.advice
    # 4,000 quick statements: whether they count as waiting or as computing depends on how busy the machine is.
    assert re.search(r"`psycopg\.Connection\.execute` (computed and )?blocked the eventlet hub", service.log())
    assert "the page: headgate watch report" in service.log()


def held_back(database: str) -> bool:
    """Whether a session waits for a lock."""
    with psycopg.connect(database) as connection:
        query = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        return connection.execute(query).fetchone() is not None


def stalls(folder: Path) -> list[Incident]:
    """The incidents in the user's own code so far."""
    return [each for each in journal.read(folder) if each.function == "reprice" and not each.unfinished]
