"""Echoes, twice: as a native socket and as a flask-sock loop."""

from __future__ import annotations

from flask import Flask
from flask_sock import Sock

from headgate import Headgate

app = Flask(__name__)
gate = Headgate(app)
loops = Sock(app)


@gate.socket("/native", format="raw")
def native(sock, message):  # type: ignore[no-untyped-def]
    sock.send(message)


@loops.route("/loop")
def loop(sock):  # type: ignore[no-untyped-def]
    while True:
        sock.send(sock.receive())
