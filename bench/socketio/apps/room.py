"""One room with everybody in it, and updates inline: a Flask-SocketIO app as its owners would write it."""

from __future__ import annotations

import os
import time

import psycopg
from flask import Flask, request
from flask_socketio import SocketIO, emit, join_room

app = Flask(__name__)
socketio = SocketIO(
    app,
    cors_allowed_origins="*",
    async_mode=os.environ.get("ASYNC_MODE"),
    message_queue=os.environ.get("MESSAGE_QUEUE"),
    ping_interval=25,
    ping_timeout=60,
)


@socketio.on("connect")
def connect(auth=None):
    join_room("all")


@app.post("/emit")
def emit_some():
    for _ in range(int(request.args.get("times", 1))):
        socketio.emit("said", {"at": time.time(), "text": "m" * int(request.args.get("size", 100))}, to="all")
    return "", 204


@socketio.on("click")
def click(data):
    return {"id": data["id"]}


@socketio.on("update")
def update(data):
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        for number in range(data["id"] % 49 * 4000, data["id"] % 49 * 4000 + 4000):
            connection.execute("UPDATE prices SET price = price + 1 WHERE id = %s", (number,))
    return {"id": data["id"]}


@socketio.on("say")
def say(text):
    emit("said", {"at": time.time(), "text": text}, to="all")


if __name__ == "__main__":
    socketio.run(app, port=int(os.environ["PORT"]), allow_unsafe_werkzeug=True)
