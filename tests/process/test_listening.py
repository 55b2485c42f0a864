"""Where Headgate listens: a Unix socket for nginx beside a TCP address, and TLS on the second only."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import stat
from pathlib import Path

from websockets.sync.client import unix_connect

from tests.support.certificates import certificate
from tests.support.headgate import Headgate
from tests.support.sockets import open_socket
from tests.support.wait import until

APP = """
from flask import Flask, request
from headgate import Headgate

app = Flask(__name__)
gate = Headgate(app)

@app.get("/who")
def who():
    return {"address": request.remote_addr, "scheme": request.scheme, "host": request.host}

@gate.socket("/echo")
def echo(sock, message):
    return message
"""


def ask(connection: http.client.HTTPConnection, **headers: str) -> dict[str, str]:
    connection.request("GET", "/who", headers=headers)
    told: dict[str, str] = json.loads(connection.getresponse().read())
    return told


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("shop.example", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(str(self._path))


def test_a_unix_socket_a_tls_address_and_a_renewed_certificate(workdir: Path) -> None:
    folder = workdir
    (folder / "shop.py").write_text(APP)
    path = folder / "http.sock"
    ours = certificate(folder)
    env = {"HEADGATE_TLS_CERT": str(ours.cert), "HEADGATE_TLS_KEY": str(ours.key), "HEADGATE_JOBS": "1"}
    with Headgate("shop:app", folder, "--bind", f"unix:{path}", env=env, ready=False) as server:
        until(lambda: path.exists() and _serves(path), "both lanes serve", seconds=30)
        assert stat.S_ISSOCK(os.stat(path).st_mode)
        assert f"https://127.0.0.1:{server.port}" in server.status()["addresses"], "as it is to be opened"

        plain = UnixConnection(path)
        forwarded = {"X-Forwarded-For": "198.51.100.7", "X-Forwarded-Proto": "https"}
        assert ask(plain, **forwarded) == {"address": "198.51.100.7", "scheme": "https", "host": "shop.example"}
        assert ask(plain)["scheme"] == "http"
        with unix_connect(str(path), "ws://shop.example/echo", open_timeout=10, close_timeout=10) as sock:
            sock.send('{"a": 1}')
            assert json.loads(sock.recv(timeout=10)) == {"a": 1}

        context = ours.client()
        secure = http.client.HTTPSConnection("localhost", server.port, timeout=10, context=context)
        assert ask(secure)["scheme"] == "https"
        with open_socket(f"wss://localhost:{server.port}/echo", ssl=context) as held:
            assert held.ask({"n": 1}) == {"n": 1}
            before = ssl.get_server_certificate(("127.0.0.1", server.port))
            fresh = certificate(folder, "fresh")
            ours.replace_by(fresh)
            until(
                lambda: ssl.get_server_certificate(("127.0.0.1", server.port)) != before, "the new certificate is shown"
            )
            assert held.ask({"n": 2}) == {"n": 2}, "no connection is dropped"
            assert ask(secure)["scheme"] == "https"
            server.reload()
            until(lambda: server.log().count("Generation 2 serves") == 1, "it has reloaded", seconds=30)
            assert held.ask({"n": 3}) == {"n": 3}
        plain.close()
        secure.close()


def _serves(path: Path) -> bool:
    probe = UnixConnection(path)
    try:
        probe.request("GET", "/-/ready")
        return probe.getresponse().status == 200
    except OSError:
        return False
    finally:
        probe.close()


def test_a_certificate_that_cannot_be_used_ends_the_start_with_advice(workdir: Path) -> None:
    (workdir / "shop.py").write_text(APP)
    env = {"HEADGATE_TLS_CERT": "missing.pem", "HEADGATE_JOBS": "0"}
    server = Headgate("shop:app", workdir, env=env, ready=False)
    try:
        assert server.process.popen.wait(30) != 0
        assert "missing.pem, which tls_cert or tls_key names, is not there" in server.log()
    finally:
        server.stop()
