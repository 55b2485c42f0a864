"""A chat as teams write them: rooms, who is there, acknowledgements, class-based namespaces, Flask-Login."""

from __future__ import annotations

import os

from flask import Flask, jsonify, request, session
from flask_login import LoginManager, UserMixin, current_user, login_user
from flask_socketio import (
    ConnectionRefusedError,
    Namespace,
    SocketIO,
    call,
    close_room,
    disconnect,
    emit,
    join_room,
    leave_room,
    rooms,
    send,
)

app = Flask(__name__)
app.config["SECRET_KEY"] = "not secret"
login = LoginManager(app)
socketio = SocketIO(app, cors_allowed_origins=["http://pages.example"], cookie="io", async_mode="threading")


class User(UserMixin):
    def __init__(self, name):
        self.id = name


@login.user_loader
def load_user(name):
    return User(name)


@app.post("/login/<name>")
def log_in(name):
    session["from"] = "http"
    login_user(User(name))
    return "", 204


@app.get("/who/<room>")
def who(room):
    return jsonify(sorted(sid for sid, _ in socketio.server.manager.get_participants("/", room)))


@app.post("/announce/<room>")
def announce(room):
    socketio.emit("announced", request.get_json(), to=room)
    return "", 204


@app.get("/pid")
def pid():
    return str(os.getpid())


@socketio.on("connect")
def connected(auth):
    if auth and auth.get("banned"):
        raise ConnectionRefusedError("banned", {"until": "tomorrow"})
    if auth and auth.get("shut"):
        return False
    name = current_user.id if current_user.is_authenticated else "nobody"
    session["name"] = (auth or {}).get("name", name)
    emit("welcome", {"sid": request.sid, "name": session["name"], "auth": auth, "from": session.get("from")})
    return None


@socketio.on("disconnect")
def left(reason):
    emit("left", {"name": session.get("name"), "reason": reason, "count": session.get("count", 0)}, broadcast=True)


@socketio.on("count")
def count():
    session["count"] = session.get("count", 0) + 1
    return session["count"]


@socketio.on("echo")
def echo(*args):
    return args


@socketio.on("enter")
def enter(room):
    join_room(room)
    emit("entered", session["name"], to=room, include_self=False)
    return sorted(map(str, rooms()))


@socketio.on("exit")
def exit_room(room):
    leave_room(room)
    return sorted(map(str, rooms()))


@socketio.on("say")
def say(room, text):
    emit("said", {"name": session["name"], "text": text}, to=room)


@socketio.on("whisper")
def whisper(room, text, without):
    emit("said", {"name": session["name"], "text": text}, to=room, skip_sid=without)


@socketio.on("shut")
def shut(room):
    emit("shut", room, to=room)
    close_room(room)


@socketio.on("kick")
def kick(sid):
    disconnect(sid)
    return "kicked"


@socketio.on("ask")
def ask(question):
    return {"answer": call("question", question, timeout=10), "sid": request.sid}


@socketio.on("tell")
def tell(text):
    def heard(*answer):
        session["heard"] = list(answer)
        emit("heard", {"answer": list(answer), "sid": request.sid})

    emit("question", text, callback=heard)


@socketio.on("recall")
def recall():
    return session.get("heard")


@socketio.on("fail")
def fail(text):
    raise ValueError(text)


@socketio.on_error()
def failed(error):
    emit("failed", str(error))
    return "failed"


@socketio.on("message")
def message(text):
    send(text.upper())


@socketio.on("json")
def json(value):
    send({"got": value}, json=True)


class Rooms(Namespace):
    def on_connect(self):
        emit("hello", request.namespace)

    def on_shout(self, text):
        self.emit("shouted", text.upper())
        return "shouted"

    def on_disconnect(self, reason):
        self.emit("gone", reason)


socketio.on_namespace(Rooms("/rooms"))


@socketio.on("*", namespace="/any")
def anything(event, *args):
    return [event, request.namespace, *args]
