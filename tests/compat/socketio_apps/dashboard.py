"""A dashboard as teams write them: a background thread that the first client starts; slow updates inline."""

from __future__ import annotations

import eventlet

eventlet.monkey_patch()

import os  # noqa: E402
import time  # noqa: E402
from threading import Lock  # noqa: E402

from flask import Flask  # noqa: E402
from flask_socketio import SocketIO, emit  # noqa: E402

app = Flask(__name__)
socketio = SocketIO(app, async_mode="eventlet", message_queue="redis://127.0.0.1:1/0")
thread = None
thread_lock = Lock()


def ticker():
    number = 0
    while True:
        socketio.sleep(0.05)
        number += 1
        socketio.emit("tick", {"number": number, "pid": os.getpid()})


@socketio.event
def connect():
    global thread
    with thread_lock:
        if thread is None:
            thread = socketio.start_background_task(ticker)


@socketio.on("update")
def update(seconds):
    for part in range(3):
        time.sleep(seconds / 3)
        emit("progress", part)
    return "done"


@socketio.on("click")
def click(number):
    return number


@socketio.on("later")
def later(text):
    socketio.start_background_task(announce, text)


def announce(text):
    socketio.emit("announced", text)


socketio.run(app, host="0.0.0.0", port=5000)
