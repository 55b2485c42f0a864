"""On Headgate: connections join a channel, the gateway sends to it, and a handler echoes."""

from flask import Flask, request

from headgate import Headgate

app = Flask(__name__)
gate = Headgate(app)


@gate.socket("/ws")
def updates(sock, message):
    return message


@updates.on_connect
def connected(sock):
    sock.join("all")


@app.post("/publish")
def publish():
    text = request.get_data(as_text=True)
    for _ in range(int(request.args.get("times", 1))):
        gate.publish("all", text)
    return "", 204
