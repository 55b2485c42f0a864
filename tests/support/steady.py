"""Clients that behave, an app for them, and settings under which faults are found in seconds."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.headgate import Headgate

APP = """
import time
from flask import Flask, Response, request
from flask_sock import Sock
from headgate import Headgate

app = Flask(__name__)
gate, loops = Headgate(app), Sock(app)

@app.get("/")
def index():
    return "ok"

@app.post("/upload")
def upload():
    return str(len(request.get_data()))

@app.get("/stream")
def stream():
    return Response(b"x" * 50_000 for _ in range(200))

@app.get("/slow")
def slow():
    time.sleep(0.2)
    return "slept"

@app.post("/publish")
def publish():
    text = request.get_data(as_text=True)
    for _ in range(int(request.args["times"])):
        gate.publish("all", text)
    return "", 204

@gate.socket("/ws")
def echo(sock, message):
    if message.get("type") == "fail":
        raise ValueError("as asked")
    if message.get("type") == "big":
        return {"big": "x" * 20_000}
    sock.state["n"] = sock.state.get("n", 0) + 1
    return {"n": sock.state["n"]}

@echo.on_connect
def opened(sock):
    if "listen" in sock.request.args:
        sock.join("all")

@loops.route("/loop")
def loop(sock):
    while True:
        sock.send(sock.receive())
"""
SETTINGS = {
    "HEADGATE_PING_INTERVAL": "1",
    "HEADGATE_PING_TIMEOUT": "5",
    "HEADGATE_RELOAD_TIMEOUT": "5",
    "HEADGATE_HEAD_TIMEOUT": "3",
    "HEADGATE_BODY_TIMEOUT": "3",
    "HEADGATE_OUTBOX_AGE": "3",
}
PATIENCE = 60.0
"""Seconds to wait for anything, on a machine with other work."""


class Steady:
    """A client that behaves, and expects the same."""

    def __init__(self, server: Headgate) -> None:
        self.seen: Counter[str] = Counter()
        self.stopping = False
        self._server = server

    async def native(self) -> None:
        """A native socket outlives reloads and deaths of app workers; its state too."""
        last = 0
        async with connect(self._server.ws_url + "/ws?listen=1", max_size=None, open_timeout=PATIENCE) as sock:
            while not self.stopping:
                await sock.send('{"type": "count", "id": 1}')
                while True:
                    text = await asyncio.wait_for(sock.recv(), PATIENCE)
                    if text[:1] == "{" and (said := json.loads(text)).get("id") == 1:  # the rest was published
                        break
                if "error" in said:
                    self.seen[said["error"]] += 1
                else:
                    assert said["n"] > last, (said, last)
                    last = said["n"]
                    self.seen["native"] += 1
                await asyncio.sleep(0.02)

    async def requests(self) -> None:
        while not self.stopping:
            async with httpx.AsyncClient(timeout=1.5 * PATIENCE) as client:
                for path in ("/", "/slow", "/"):
                    self.seen[str((await client.get(self._server.url + path)).status_code)] += 1
            await asyncio.sleep(0.02)

    async def loop(self) -> None:
        """A loop socket ends with 1012 when its worker does, and comes back."""
        while not self.stopping:
            try:
                async with connect(self._server.ws_url + "/loop", open_timeout=PATIENCE) as sock:
                    while not self.stopping:
                        await sock.send("x")
                        assert await asyncio.wait_for(sock.recv(), PATIENCE) == "x"
                        self.seen["loop"] += 1
                        await asyncio.sleep(0.02)
            except ConnectionClosed:
                assert sock.close_code == 1012, (sock.close_code, sock.close_reason)
                self.seen["loop again"] += 1
            except InvalidStatus as refused:  # it came back to a worker that was killed next
                self.seen[json.loads(refused.response.body or b"{}")["error"]] += 1
