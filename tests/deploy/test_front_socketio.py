"""A Flask-SocketIO app behind the rendered nginx: polling alone, WebSocket alone, and the way from one to the other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import socketio

from tests.deploy.test_front import Front, behind_nginx

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


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@pytest.mark.parametrize("transports", [["polling"], ["websocket"], ["polling", "websocket"]], ids="-".join)
def test_socketio_through_nginx(front: Front, transports: list[str]) -> None:
    session = requests.Session()
    # The certificate is for the domain, and this is an address of loopback.
    session.trust_env, session.verify = False, False
    client = socketio.Client(http_session=session, reconnection=False, ssl_verify=False)
    answered = threading.Event()
    sums: list[int] = []

    def answer(total: int) -> None:
        sums.append(total)
        answered.set()

    try:
        client.connect(front.url, transports=transports, wait_timeout=30)
        for number in range(20):
            client.emit("add", (number, 1), callback=answer)
            assert answered.wait(30), "no acknowledgement came"
            answered.clear()
    finally:
        client.disconnect()
    assert sums == list(range(1, 21))
