"""A Flask-SocketIO app behind the rendered nginx: polling alone, WebSocket alone, and the way from one to the other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import socketio

from tests.deploy.test_front import Front, behind_nginx
from tests.support.proxy import Proxy

APP = """
from flask import Flask
from flask_socketio import SocketIO

app = Flask(__name__)
socketio = SocketIO(app, cors_allowed_origins="*")

@app.get("/")
def home():
    return "here"

@socketio.on("add")
def add(a, b):
    return a + b
"""


@pytest.fixture
def front(workdir: Path) -> Iterator[Front]:
    yield from behind_nginx("el9", APP, workdir)


@pytest.mark.parametrize("transports", [["polling"], ["websocket"], ["polling", "websocket"]], ids="-".join)
def test_socketio_through_nginx(front: Front, transports: list[str]) -> None:
    client = socketio.Client(reconnection=False)
    answered = threading.Event()
    sums: list[int] = []

    def answer(total: int) -> None:
        sums.append(total)
        answered.set()

    # The client reads and writes in two threads, which breaks a TLS connection now and then (python-engineio
    # issue 461), so TLS is somebody else's.
    with Proxy(front.port, front.trust) as tls:
        try:
            client.connect(f"http://127.0.0.1:{tls.port}", transports=transports, wait_timeout=30)
            for number in range(20):
                client.emit("add", (number, 1), callback=answer)
                assert answered.wait(30), "no acknowledgement came"
                answered.clear()
        finally:
            client.disconnect()
    assert sums == list(range(1, 21))
