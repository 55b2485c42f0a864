"""The broadcast on Headgate: connections join a channel, and the gateway sends."""

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
    gate.publish("all", request.get_data(as_text=True))
    return "", 204
