"""The story's service on a real PostgreSQL: hosted unchanged, and with the update as a job."""

from __future__ import annotations

import runpy
from pathlib import Path

import psycopg
import pytest

from tests.support.fixtures import StartHeadgate
from tests.support.sockets import open_socket
from tests.support.wait import until

STORY = Path(__file__).resolve().parents[2] / "examples" / "story"


@pytest.fixture
def database(postgres_url: str) -> str:
    """The story's table, filled by its own script."""
    runpy.run_path(str(STORY / "schema.py"))["create"](postgres_url)
    return postgres_url


def changed(database: str) -> int:
    """How many updates of single rows have been committed."""
    with psycopg.connect(database) as connection:
        row = connection.execute("SELECT sum(changes) FROM prices").fetchone()
    assert row is not None
    return int(row[0])


def held_back(database: str) -> int:
    """How many sessions wait for a lock."""
    with psycopg.connect(database) as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def test_the_unchanged_app_answers_clicks_while_updates_wait(database: str, headgate_server: StartHeadgate) -> None:
    server = headgate_server("app:app", app_folder=STORY, env={"DATABASE_URL": database})
    with (
        psycopg.connect(database) as blocker,
        open_socket(f"{server.ws_url}/ws") as heavy,
        open_socket(f"{server.ws_url}/ws") as other,
    ):
        blocker.execute("LOCK TABLE prices IN ACCESS EXCLUSIVE MODE")  # every update now takes as long as we like
        heavy.send({"type": "update", "id": 1})
        until(lambda: held_back(database) == 1, "the update to wait in the database")
        for number in range(20):
            assert other.ask({"type": "click", "id": number}) == {"type": "answer", "id": number}
        blocker.rollback()
        assert heavy.receive(60) == {"type": "answer", "id": 1, "updated": 4000}
        assert heavy.ask({"type": "click", "id": 2}) == {"type": "answer", "id": 2}
    assert changed(database) == 4000


def test_with_a_job_the_users_own_clicks_are_answered_too(database: str, headgate_server: StartHeadgate) -> None:
    server = headgate_server("app_jobs:app", app_folder=STORY, env={"DATABASE_URL": database})
    with psycopg.connect(database) as blocker, open_socket(f"{server.ws_url}/ws") as sock:
        blocker.execute("LOCK TABLE prices IN ACCESS EXCLUSIVE MODE")
        sock.send({"type": "update", "id": 1})
        *_, accepted = sock.receive_until(lambda message: "job_id" in message)  # a first event may come before it
        assert accepted["type"] == "accepted"
        until(lambda: held_back(database) == 1, "the job to wait in the database")
        sock.send({"type": "click", "id": 2})
        sock.receive_until(lambda message: message == {"type": "answer", "id": 2})
        blocker.rollback()
        events = sock.receive_until(lambda message: message.get("event") == "result", 60)
    assert events[-1]["stream"] == f"jobs/{accepted['job_id']}"
    assert events[-1]["data"]["result"] == {"type": "answer", "id": 1, "updated": 4000}
    assert changed(database) == 4000
