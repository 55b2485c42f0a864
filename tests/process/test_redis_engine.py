"""Headgate on a Redis: no broker process, several machines (folders with processes of their own), one status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import psycopg

from tests.process.test_story import STORY, database
from tests.support.fixtures import StartHeadgate
from tests.support.headgate import Headgate
from tests.support.redis import Redis
from tests.support.sockets import open_socket
from tests.support.wait import free_port, until

__all__ = ["database"]

SECRET = "the same on every machine, 32 bytes"
APP = """
import os, time
from flask import Flask
from headgate import Headgate

app = Flask(__name__)
gate = Headgate(app)

@gate.job(queue="bulk", retries=1)
def count(job, to, pause):
    for n in range(1, to + 1):
        time.sleep(pause)
        job.progress(n, to)
    return {"pid": os.getpid(), "tries": job.tries}

@gate.socket("/live")
def live(sock, message):
    if message["type"] == "count":
        handle = count.enqueue(message["to"], message["pause"])
        sock.follow(handle)
        return {"job": handle.id}
    sock.join("room")
    return {"joined": True}

@app.post("/say")
def say():
    gate.publish("room", {"said": "hello"})
    return ""
"""


def result(socket: Any) -> tuple[dict[str, Any], list[str]]:
    """The result event of what a socket follows, and the kinds of all events before it."""
    kinds = []
    while True:
        event = socket.receive(60)
        kinds.append(event["event"])
        if event.get("terminal"):
            return event["data"]["result"], kinds


def test_two_machines_share_the_work(redis_url: str, headgate_server: StartHeadgate) -> None:
    env = {"HEADGATE_BROKER": redis_url, "HEADGATE_SECRET": SECRET}
    front = headgate_server(APP, "--roles", "gateway,app", env=env)
    back = headgate_server(APP, "--roles", "jobs", "--queues", "bulk", "--jobs", "2", env=env, ready=False)
    until(lambda: back.data.exists() and len(jobs_of(back)) == 2, "the other machine's job workers serve", seconds=60)
    assert not {"broker", "jobs"} & {process["role"] for process in front.status()["processes"]}
    with open_socket(f"{front.ws_url}/live") as socket:
        socket.send({"type": "count", "id": 1, "to": 5, "pause": 0.02})
        before, _ = until_accepted(socket)
        value, kinds = result(socket)
        kinds = [*before, *kinds]
        assert value["pid"] in jobs_of(back)
        assert kinds[:2] == ["queued", "started"]
        assert "progress" in kinds
        # A job whose worker is killed there is run again there, and followed on from here.
        socket.send({"type": "count", "id": 2, "to": 60, "pause": 0.1})
        before, job = until_accepted(socket)
        if "progress" not in before:
            socket.receive_until(lambda message: message.get("event") == "progress", 30)
        (pid,) = until(lambda: runs(back, job), "the status that tells who runs it")
        os.kill(pid, signal.SIGKILL)
        value, kinds = result(socket)
        assert value["tries"] == 2
        assert "retrying" in kinds
    machines = {one["machine"] for one in front.status()["engine"]["machines"]}
    assert len(machines) == 2
    assert {one["machine"] for one in back.status()["engine"]["machines"]} == machines


def runs(server: Headgate, job: str) -> list[int]:
    """The pids of the job workers that are at this job, as they have told last."""
    return [one["pid"] for one in server.status()["processes"] if (one.get("stats") or {}).get("job") == job]


def until_accepted(socket: Any) -> tuple[list[str], str]:
    """Wait for the answer that names the job; a quick machine's first events may come before it."""
    *events, answer = socket.receive_until(lambda message: "job" in message, 30)
    return [message["event"] for message in events], answer["job"]


def jobs_of(server: Headgate) -> set[int]:
    """The pids of the job workers that serve on a machine."""
    try:
        status = server.status()
    except AssertionError:
        return set()
    return {one["pid"] for one in status["processes"] if one["role"] == "jobs" and one["state"] == "serving"}


def test_a_message_reaches_sockets_on_every_machine(redis_url: str, headgate_server: StartHeadgate) -> None:
    env = {"HEADGATE_BROKER": redis_url, "HEADGATE_SECRET": SECRET}
    one, two = (headgate_server(APP, "--roles", "gateway,app", env=env) for _ in range(2))
    with open_socket(f"{one.ws_url}/live") as near, open_socket(f"{two.ws_url}/live") as far:
        for socket in (near, far):
            assert socket.ask({"type": "join"})["joined"]
        httpx.post(f"{one.url}/say").raise_for_status()
        for socket in (near, far):
            assert socket.receive(30) == {"said": "hello"}


def test_the_story_runs_on_redis(database: str, redis_url: str, headgate_server: StartHeadgate) -> None:
    env = {"DATABASE_URL": database, "HEADGATE_BROKER": redis_url}
    server = headgate_server("app_jobs:app", app_folder=STORY, env=env)
    with open_socket(f"{server.ws_url}/ws") as socket:
        socket.send({"type": "update", "id": 1})
        kinds: list[str] = []
        while not kinds or kinds[-1] != "result":
            kinds.append(str(socket.receive(60).get("event")))
        assert socket.ask({"type": "click", "id": 2}) == {"type": "answer", "id": 2}
    with psycopg.connect(database) as connection:
        row = connection.execute("SELECT sum(changes) FROM prices").fetchone()
    assert row == (4000,)


def test_the_promise_of_the_server_is_told_at_the_start(workdir: Path) -> None:
    options = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "allkeys-lru"}
    (workdir / "app.py").write_text(APP)
    with Redis(options) as redis, Headgate("app:app", workdir, "--broker", redis.url) as server:
        until(lambda: " serves" in server.log(), "the start-up table")
        log = server.log()
        assert "an acknowledged job is on the server's disk" in " ".join(log.split())
        assert "throws jobs away" in log


def test_a_redis_that_is_not_there_is_a_clear_error(workdir: Path) -> None:
    (workdir / "app.py").write_text(APP)
    url = f"redis://user:hidden@127.0.0.1:{free_port()}/0"
    command = [sys.executable, "-m", "headgate", "run", "app:app", "--data", str(workdir / "d"), "--broker", url]
    done = subprocess.run(command, capture_output=True, text=True, cwd=workdir, timeout=60, check=False)
    assert done.returncode != 0
    assert "no Redis answers at redis://user:***@127.0.0.1" in done.stderr
    assert "Traceback" not in done.stderr
    assert "hidden" not in done.stderr
