"""The order desk: a Flask app with one socket, one job, and the same work done inline."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from flask import Flask, render_template

from examples.demo import orders
from headgate import Headgate, JobContext, Socket

app = Flask(__name__)
gate = Headgate(app)
orders.prepare()


@gate.job(retries=3)
def reprice(job: JobContext, percent: float) -> dict[str, int]:
    """Runs in a job worker; outlives the page."""
    done = 0
    for numbers in orders.chunks():
        orders.reprice_chunk(numbers, percent)
        done += len(numbers)
        job.progress(done, orders.ROWS)
    return {"updated": done}


def reprice_inline(percent: float) -> dict[str, int]:
    """Runs in the handler, and blocks its thread for seconds."""
    done = 0
    for numbers in orders.chunks():
        orders.reprice_chunk(numbers, percent)
        done += len(numbers)
    return {"updated": done}


@gate.socket("/live")
def live(sock: Socket, message: dict[str, Any]) -> dict[str, Any] | None:
    """One message of one connection; what it returns is the answer to that message."""
    match message:
        case {"type": "click", "order": int(number)}:
            return orders.order(number)
        case {"type": "reprice", "percent": percent}:
            handle = reprice.enqueue(percent)
            sock.follow(handle)
            return {"job": handle.id}
        case {"type": "inline", "percent": percent}:
            return reprice_inline(percent)
        case {"type": "follow", "job": str(job), "after": str(after)}:  # clients that do not resume by themselves
            sock.follow(f"jobs/{job}", from_=after)
            return {"following": job}
        case {"type": "watch"}:
            sock.join("desk")
            return {"orders": orders.ROWS}
        case {"type": "report"}:
            gate.publish("desk", message)
            return None
    return {"error": "this desk knows click, reprice, inline, follow and watch"}


@app.get("/")
def page() -> str:
    return render_template(
        "index.html",
        rows=orders.ROWS,
        data=orders.database().parent,
        job_source=_source("reprice"),
        inline_source=_source("reprice_inline"),
        socket_source=_source("live"),
    )


def _source(name: str) -> str:
    """A function of this file as text, decorators and all: the page shows the code that runs."""
    text = Path(__file__).read_text()
    [node] = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name == name]
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return "\n".join(text.splitlines()[first - 1 : node.end_lineno])
