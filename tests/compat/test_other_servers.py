"""An app with jobs and sockets under servers that are not Headgate: HTTP and jobs work, sockets say why not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.folders import short_folder
from tests.support.headgate import Headgate
from tests.support.process import Process
from tests.support.wait import accepts, free_port, until

APP = """
import flask
from headgate import Headgate

app = flask.Flask(__name__)
gate = Headgate(app)

@gate.job
def double(job, number: int):
    return {"doubled": 2 * number}

@app.post("/double/<int:number>")
def route(number):
    return double.enqueue(number).accepted()

@app.get("/double/<int:number>")
def wait(number):
    return double.enqueue(number).wait(timeout=30)

@gate.socket("/live")
def live(sock, message):
    return message
"""

ASGI = """
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from starlette.routing import Route
from app import double

async def wait(request):
    handle = await run_in_threadpool(double.enqueue, request.path_params["number"])
    return JSONResponse(await run_in_threadpool(handle.wait, 30))

app = Starlette(routes=[Route("/double/{number:int}", wait)])
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[Headgate]:
    """A Headgate whose data folder the other servers share."""
    folder = short_folder("other")
    (folder / "app.py").write_text(APP)
    (folder / "asgi.py").write_text(ASGI)
    with Headgate("app:app", folder, "--jobs", "1", "--stop-timeout", "3") as server:
        yield server


def other(engine: Headgate, name: str, *command: str) -> tuple[Process, str]:
    port = free_port()
    given = [part.replace("PORT", str(port)) for part in command]
    env = {"HEADGATE_DATA": str(engine.data), "PYTHONUNBUFFERED": "1"}
    process = Process(name, [sys.executable, "-m", *given], engine.folder, env=env, cwd=engine.app_folder)
    process.wait_ready(lambda: accepts(port))
    return process, f"http://127.0.0.1:{port}"


def test_flask_run_enqueues_and_waits(engine: Headgate) -> None:
    process, url = other(engine, "flask", "flask", "--app", "app:app", "run", "--port", "PORT")
    try:
        with httpx.Client(base_url=url, timeout=40) as client:
            assert client.get("/double/4").json() == {"doubled": 8}
            accepted = client.post("/double/5")
            assert accepted.status_code == 202
            address = engine.url + accepted.headers["location"]
            state = until(lambda: (s := httpx.get(address).json())["state"] == "succeeded" and s, "the job's end", 20)
            assert state["result"] == {"doubled": 10}
            upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
            told = client.get("/live", headers=upgrade)
            assert told.status_code == 501
            assert "headgate run" in told.text
    finally:
        process.stop()


def test_uvicorn_enqueues_and_waits(engine: Headgate) -> None:
    process, url = other(engine, "uvicorn", "uvicorn", "asgi:app", "--port", "PORT")
    try:
        assert httpx.get(f"{url}/double/21", timeout=40).json() == {"doubled": 42}
    finally:
        process.stop()


def python(engine: Headgate, code: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=engine.app_folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_script_enqueues(engine: Headgate) -> None:
    done = python(engine, "from app import double; print(double.enqueue(8).wait(30))", HEADGATE_DATA=str(engine.data))
    assert (done.returncode, done.stdout) == (0, "{'doubled': 16}\n"), done.stderr


def test_a_program_without_the_app_enqueues_by_name(engine: Headgate) -> None:
    code = f"""
import headgate
with headgate.connect(data={str(engine.data)!r}) as client:
    handle = client.enqueue("app:double", 9, options={{"priority": 3}})
    print(handle.wait(30), client.job(handle.id).get().spec.priority)
"""
    done = python(engine, code)
    assert (done.returncode, done.stdout) == (0, "{'doubled': 18} 3\n"), done.stderr


def test_without_an_engine_the_error_says_what_to_do(engine: Headgate, tmp_path: Path) -> None:
    done = python(engine, "from app import double; double.enqueue(8)", HEADGATE_DATA=str(tmp_path))
    assert done.returncode == 1
    assert "headgate.base.errors.Unavailable" in done.stderr
    assert str(tmp_path) in done.stderr
