"""Emits from everywhere: jobs, views, threads; and recovery, which the settings turn on."""

from __future__ import annotations

from flask import Flask, request
from flask_socketio import SocketIO, emit, join_room

import headgate

app = Flask(__name__)
gate = headgate.Headgate(app)
socketio = SocketIO(app, ping_interval=5, ping_timeout=60, cors_allowed_origins="*")


@socketio.on("connect")
def connect(auth):
    join_room("orders")


@socketio.on("disconnect")
def gone(reason):
    socketio.emit("left", reason, to="watchers")


@socketio.on("watch")
def watch():
    join_room("watchers")
    return request.sid


@socketio.on("flash")
def flash(text):
    socketio.emit("flash", text, to=request.sid, volatile=True)


@gate.job
def report(job, number: int) -> int:
    for part in range(number):
        socketio.emit("reported", part, to="orders")
    return number


@socketio.on("report")
def start(number):
    return report.enqueue(number).id


@app.post("/emit/<int:number>")
def emit_some(number):
    for part in range(number):
        socketio.emit("order", part, to="orders")
    return "", 204


@app.post("/flood/<int:number>")
def flood(number):
    for _ in range(number):
        socketio.emit("flood", "x" * 65_536, to="orders")
    return "", 204


@socketio.on("echo")
def echo(value):
    emit("echoed", value)
    return value
