"""The broadcast as Flask-SocketIO's documentation shows it; the mode is that of the installed environment."""

import os

from flask import Flask, request
from flask_socketio import SocketIO

app = Flask(__name__)
socketio = SocketIO(app, async_mode=os.environ["MODE"])


@app.post("/publish")
def publish():
    socketio.emit("all", request.get_data(as_text=True))
    return "", 204


if __name__ == "__main__":
    socketio.run(app, port=int(os.environ["PORT"]), allow_unsafe_werkzeug=True)
