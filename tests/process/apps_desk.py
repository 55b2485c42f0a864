"""The app that the process tests of app workers host: one route or socket for each case."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
from flask_sock import Sock

from headgate import Headgate

app = flask.Flask(__name__)
app.secret_key = "for the test"
gate = Headgate(app)
loops = Sock(app)
NOTES = Path(os.environ["NOTES"])
PART = "1"


def note(line: str) -> None:
    """Leave a line for the test, from whichever process this is."""
    with NOTES.open("a") as file:
        file.write(f"{line}\n")


@app.get("/who")
def who() -> Any:
    return {"pid": os.getpid(), "thread": threading.current_thread().name, "lane": os.environ.get("LANE"), "part": PART}


@app.get("/wait/<float:seconds>")
def wait(seconds: float) -> Any:
    time.sleep(seconds)
    return {"pid": os.getpid()}


@app.post("/length")
def length() -> Any:
    return {"length": len(flask.request.get_data())}


@app.post("/lines")
def lines() -> Any:
    return {"lines": sum(1 for _ in flask.request.stream)}


@app.post("/form")
def form() -> Any:
    upload = flask.request.files["file"]
    return {"name": upload.filename, "size": len(upload.read()), "field": flask.request.form["field"]}


@app.get("/big/<int:blocks>")
def big(blocks: int) -> Any:
    return flask.Response((b"x" * 65536 for _ in range(blocks)), mimetype="application/octet-stream")


@app.get("/file")
def file() -> Any:
    return flask.send_file(os.environ["NOTES"] + ".big", mimetype="application/octet-stream")


@app.get("/endless")
def endless() -> Any:
    def body() -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 1024
                time.sleep(0.01)
        finally:
            note("endless closed")

    return flask.Response(body())


@app.get("/breaks")
def breaks() -> Any:
    raise RuntimeError("the view's own trouble")


@app.get("/breaks-late")
def breaks_late() -> Any:
    def body() -> Iterator[bytes]:
        yield b"begun"
        raise RuntimeError("trouble after the head")

    return flask.Response(body())


@app.get("/die")
def die() -> Any:
    os._exit(9)


@app.get("/login/<name>")
def login(name: str) -> Any:
    flask.session["name"] = name
    return "in"


@gate.job(retries=0)
def count(job: Any, to: int) -> Any:
    for done in range(to):
        job.progress(done + 1, to)
    return {"counted": to, "app": flask.current_app.name}


@app.post("/count")
def count_route() -> Any:
    return count.enqueue(**flask.request.get_json()).accepted()


@app.post("/count-and-wait")
def count_and_wait() -> Any:
    return count.enqueue(3).wait(timeout=30)


@gate.socket("/live/<room>")
def live(sock: Any, message: Any, room: str) -> Any:
    match message.get("type"):
        case "who":
            return {"name": flask.session.get("name"), "room": room, "seen": sock.state.get("seen"), "pid": os.getpid()}
        case "remember":
            sock.state["seen"] = message["what"]
            return {"ok": True}
        case "publish":
            gate.publish(f"room/{room}", {"said": message["text"]})
            return None
        case "count":
            handle = count.enqueue(message["to"])
            sock.follow(handle)
            return {"job_id": handle.id}
        case "raise":
            raise ValueError("the handler's own trouble")
        case "die":
            os._exit(9)
    return {"unknown": message}


@live.on_connect
def live_connect(sock: Any, room: str) -> Any:
    if room == "closed":
        flask.abort(403)
    sock.join(f"room/{room}")
    return None


@live.on_disconnect
def live_disconnect(sock: Any, code: int, reason: str, room: str) -> None:
    note(f"live {room} ended {code}")


@loops.route("/loop/<name>")  # type: ignore[untyped-decorator]
def loop(ws: Any, name: str) -> None:
    ws.send(f"hello {name}")
    try:
        while True:
            ws.send(ws.receive().upper())
    finally:
        note(f"loop {name} ended {ws.close_reason}")


@app.post("/report/<int:year>")
@gate.offload
def report(year: int) -> Any:
    return {"year": year, "size": len(flask.request.get_data())}, 201, {"X-Report": "yes"}
