"""The rendered nginx configuration in a real nginx, in front of a real Headgate on the socket that it names."""

from __future__ import annotations

import hashlib
import json
import os
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from headgate.config.settings import Settings
from headgate.deploy.folder import write
from headgate.deploy.plan import Plan, make
from headgate.deploy.releases import release
from headgate.deploy.render import render
from headgate.deploy.verify import nginx_configuration
from tests.support.headgate import Headgate
from tests.support.process import Process, program
from tests.support.wait import accepts, free_port, until

APP = """
import hashlib, time
from flask import Flask, Response, request
from headgate import Headgate

VERSION = 1
app = Flask(__name__)
gate = Headgate(app)

@app.get("/")
def home():
    return {"version": VERSION, "address": request.remote_addr, "scheme": request.scheme, "host": request.host}

@app.post("/upload")
def upload():
    return {"digest": hashlib.sha256(request.get_data()).hexdigest()}

@app.get("/slow")
def slow():
    def lines():
        for number in range(40):
            yield f"{number}\\n"
            time.sleep(0.1)
    return Response(lines(), mimetype="text/plain")

@gate.job
def long(job, steps: int):
    for step in range(steps):
        job.progress(step + 1, steps)
        time.sleep(0.05)
    return {"steps": steps}

@app.post("/jobs")
def begin():
    return long.enqueue(20).accepted()

@gate.socket("/ws")
def ws(sock, message):
    if message == {"do": "job"}:
        sock.follow(long.enqueue(5))
        return {"began": True}
    return {"echo": message, "version": VERSION}
"""
UPLOAD = 30 << 20


class Front:
    """nginx on a port of TLS, and Headgate on the Unix socket behind it."""

    def __init__(self, server: Headgate, port: int, certificate: Path) -> None:
        self.server = server
        self.certificate = certificate
        self.port = port
        self.url = f"https://127.0.0.1:{port}"
        self.ws_url = f"wss://127.0.0.1:{port}/ws"
        self.trust = ssl.create_default_context(cafile=str(certificate))
        self.trust.check_hostname = False

    def client(self) -> httpx.Client:
        return httpx.Client(verify=self.trust, timeout=60, headers={"Host": "shop.example.com"}, base_url=self.url)

    def socket(self) -> Any:
        return connect(self.ws_url, ssl=self.trust, server_hostname="shop.example.com", proxy=None)


def behind_nginx(system: str, source: str, workdir: Path) -> Iterator[Front]:
    """The app under Headgate, behind nginx as it was rendered for the system."""
    settings = Settings(gateways=1, max_body=UPLOAD)
    plan: Plan = make("app:app", "shop.example.com", release(system), settings, name="shop")
    write(render(plan), workdir / "d")
    http, https = free_port(), free_port()
    main = nginx_configuration(workdir / "d/root", plan, http, https)
    if os.getuid() == 0:  # nginx's workers would give root up, and with it the way to this folder
        main.write_text(f"user root;\n{main.read_text()}")
    home = workdir / "h"
    home.mkdir()
    (home / "app.py").write_text(source)
    listening = f"unix:{main.parent}/http.sock"
    config = (workdir / "d/root/etc/shop/headgate.toml").read_text()
    (home / "headgate.toml").write_text(config.replace("unix:/run/shop/http.sock", listening))
    command = [program("nginx"), "-p", str(main.parent), "-c", str(main), "-e", str(main.parent / "error.log")]
    with Headgate("app:app", home, "--bind", listening, app_folder=home) as server:
        nginx = Process("nginx", command, workdir)
        try:
            nginx.wait_ready(lambda: accepts(https))
            made = Front(server, https, main.parent / "t.crt")
            until(lambda: _answers(made), "an answer through nginx", 60)
            yield made
        finally:
            nginx.stop()


@pytest.fixture(params=["el9", "el10"])
def front(request: pytest.FixtureRequest, workdir: Path) -> Iterator[Front]:
    yield from behind_nginx(request.param, APP, workdir)


def _answers(front: Front) -> bool:
    with front.client() as client:
        return client.get("/").status_code == 200


def test_it_is_all_passed_on(front: Front) -> None:
    with front.client() as client:
        told = client.get("/").json()
        assert told == {"version": 1, "address": "127.0.0.1", "scheme": "https", "host": "shop.example.com"}
        forged = client.get("/", headers={"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "ftp"}).json()
        assert (forged["address"], forged["scheme"]) == ("127.0.0.1", "https")

        body = bytes(range(256)) * (UPLOAD // 256)
        assert client.post("/upload", content=body).json() == {"digest": hashlib.sha256(body).hexdigest()}
        assert client.post("/upload", content=body + b"x").status_code == 413

        for path in ("/-/ready", "/-/live", "/-/metrics", "/-/"):
            assert client.get(path).status_code == 404, path
        assert "javascript" in client.get("/-/client.js").headers["content-type"]


def test_sockets_and_jobs_come_through(front: Front) -> None:
    with front.socket() as socket:
        socket.send(json.dumps({"n": 1}))
        assert json.loads(socket.recv(30)) == {"echo": {"n": 1}, "version": 1}
        socket.send(json.dumps({"do": "job"}))
        seen = [json.loads(socket.recv(30))]
        while not seen[-1].get("terminal"):
            seen.append(json.loads(socket.recv(30)))
        assert seen[-1]["data"] == {"result": {"steps": 5}}
    with front.client() as client:
        accepted = client.post("/jobs")
        assert accepted.status_code == 202
        where = accepted.headers["Location"]
        done = until(lambda: _finished(client.get(where).json()), "the job", 60, every=0.2)
        assert done["result"] == {"steps": 20}


def test_events_come_through_as_they_are_made(front: Front) -> None:
    """Server-sent events of a job that still runs: nginx holds none of them back until the end."""
    with front.client() as client:
        stream = client.post("/jobs").json()["stream"]
        with client.stream("GET", f"{stream}&offset=-1&live=sse") as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            lines = response.iter_lines()
            first = next(line for line in lines if "progress" in line)
            assert "result" not in first
            assert any("result" in line for line in lines)


def _finished(job: dict[str, Any]) -> dict[str, Any]:
    return job if job["state"] == "succeeded" else {}


def test_a_reload_in_the_middle_of_a_stream_breaks_nothing(front: Front) -> None:
    with front.socket() as socket, front.client() as client:
        lines: list[str] = []
        with client.stream("GET", "/slow") as response:
            begun = response.iter_lines()
            lines.append(next(begun))
            app = front.server.app_folder / "app.py"
            app.write_text(APP.replace("VERSION = 1", "VERSION = 2"))
            reload = threading.Thread(target=front.server.command, args=("reload",), kwargs={"seconds": 60})
            reload.start()
            lines += begun
            reload.join(60)
        assert lines == [str(number) for number in range(40)]

        def version() -> bool:
            socket.send(json.dumps({}))
            return bool(json.loads(socket.recv(30))["version"] == 2)

        until(version, "the new code on the old socket", 30, every=0.2)
