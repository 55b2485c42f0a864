"""What the protocol suites of Socket.IO ask of a server (their Readme has it in JavaScript)."""

from __future__ import annotations

import os

from flask import Flask
from flask_socketio import SocketIO, emit

app = Flask(__name__)
socketio = SocketIO(
    app,
    ping_interval=0.3,
    ping_timeout=float(os.environ.get("PING_TIMEOUT", "0.2")),
    max_http_buffer_size=1_000_000,
    async_mode="gevent",
)


@socketio.on("connect")
@socketio.on("connect", namespace="/custom")
def connect(auth):
    emit("auth", auth or {})


@socketio.on("message")
@socketio.on("message", namespace="/custom")
def message(*args):
    emit("message-back", args)


@socketio.on("message-with-ack")
def with_ack(*args):
    return args
