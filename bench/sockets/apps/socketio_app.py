"""The broadcast and the echo as Flask-SocketIO's documentation shows them; MODE is that of the environment."""

import os

from flask import Flask, request
from flask_socketio import SocketIO, emit

app = Flask(__name__)
socketio = SocketIO(app, async_mode=os.environ.get("MODE"))


@app.post("/publish")
def publish():
    text = request.get_data(as_text=True)
    for _ in range(int(request.args.get("times", 1))):
        socketio.emit("all", text)
    return "", 204


@socketio.on("echo")
def echo(text):
    emit("echo", text)


if __name__ == "__main__":
    socketio.run(app, port=int(os.environ["PORT"]), allow_unsafe_werkzeug=True)
