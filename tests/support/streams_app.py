"""The app of the stream tests: an open hook for names under `v1/` and `open/`, a login for `mine/`, and sockets."""

from __future__ import annotations

import time
from typing import Any

from flask import Flask, request

from headgate import Headgate, JobContext, Socket

app = Flask(__name__)
gate = Headgate(app)


@gate.stream_access
def allow(stream: str, access: str) -> bool:
    if stream.startswith("mine/"):
        return request.headers.get("x-user") == "ann" and access == "read"
    return stream.startswith(("v1/", "open/"))


@gate.job
def count(job: JobContext, most: int, pause: float = 0.0) -> int:
    for number in range(1, most + 1):
        job.log(f"{number} of {most}", done=number)  # unlike progress, each of them is kept
        time.sleep(pause)
    return most


@gate.job
def fail(job: JobContext) -> None:
    raise RuntimeError("on purpose")


@gate.socket("/ws")
def ws(sock: Socket, message: dict[str, Any]) -> dict[str, Any] | None:
    match message:
        case {"type": "count", "most": int(most), **more}:
            handle = count.enqueue(most, float(more.get("pause", 0)))
            sock.follow(handle)
            return {"job": handle.id, "url": handle.url, "stream": handle.stream_url}
        case {"type": "follow", "stream": str(stream), **more}:
            sock.follow(stream, from_=more.get("from", 0))
            return {"following": stream}
        case {"type": "echo"}:
            return message
    return {"error": "unknown"}


@app.get("/page")
def page() -> str:
    return "<!doctype html><title>streams</title><link rel=icon href=data:,>"


@app.post("/append/<path:name>")
def append(name: str) -> dict[str, Any]:
    stream = gate.stream(name)
    return {"offset": stream.extend(request.get_json()), "url": stream.url(), "write": stream.url(write=True)}


@app.post("/publish/<channel>")
def publish(channel: str) -> dict[str, Any]:
    gate.publish(channel, request.get_json(), history=50)
    return {"url": gate.stream(f"channels/{channel}").url()}


@app.post("/count/<int:most>")
def start(most: int) -> Any:
    return count.enqueue(most, 0.01).accepted()


@app.post("/fail")
def start_failing() -> Any:
    return fail.enqueue().accepted()
