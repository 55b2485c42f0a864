"""Requests per second of a Flask JSON route: the price of the gateway between the client and the app."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

from bench.hosting import Host
from bench.http.hosts import HOSTS, THREADS, WORKERS
from bench.peers import installed, named
from bench.result import Plot, Ratio, Result, Table, median_row, milliseconds
from bench.rounds import Rounds
from tests.support.process import program

ROUNDS, SECONDS, WARM_UP, CONNECTIONS = 5, 5, 2, 32
PATH = "/order/42?currency=EUR"
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


class WrkSaid(RuntimeError):
    """wrk's output shows errors, or is not understood."""


def parse(output: str) -> dict[str, float]:
    """Requests per second, p50 and p99 in seconds from `wrk --latency`.

    Raises:
        WrkSaid: some requests failed, or a number is missing.
    """
    if "Non-2xx" in output or "Socket errors" in output:
        raise WrkSaid(output)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    found = {percent: re.search(rf"\b{percent}%\s+([\d.]+)(us|ms|s|m)\b", output) for percent in ("50", "99")}
    if rate is None or not all(found.values()):
        raise WrkSaid(output)
    times = {f"p{percent}": float(match[1]) * UNITS[match[2]] for percent, match in found.items() if match}
    return {"rate": float(rate[1]), **times}


def wrk(url: str, seconds: float) -> str:
    command = [program("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "--latency", url]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 60).stdout


def turn(host: Host, seconds: float) -> dict[str, float]:
    """One server: a warm-up (in which Headgate also learns the route's lane), then the measured span."""
    with host.turn() as server:
        wrk(server.url + PATH, WARM_UP)
        return parse(wrk(server.url + PATH, seconds))


def measure(quick: bool = False) -> Result:
    """All servers, interleaved; medians of the rounds."""
    rounds, seconds = (1, 3) if quick else (ROUNDS, SECONDS)
    turns = Rounds("http", HOSTS, rounds, keep=not quick)
    raw = turns.run(
        lambda name: turn(HOSTS[name], seconds), lambda name, row: f"{HOSTS[name].label}: {row['rate']:,.0f}/s"
    )
    result = _result({name: median_row(rows) for name, rows in raw.items()}, raw, turns.rounds, seconds)
    turns.done()
    return result


def _result(medians: dict[str, dict[str, float]], raw: dict[str, Any], rounds: int, seconds: int) -> Result:
    ours, theirs = medians["headgate"]["rate"], medians["gthread"]["rate"]
    rows = [
        [
            HOSTS[name].label,
            f"{row['rate']:,.0f}",
            f"{row['rate'] / theirs:.2f} ×",
            milliseconds(row["p50"]),
            milliseconds(row["p99"]),
        ]
        for name, row in medians.items()
    ]
    return Result(
        name="http",
        title="HTTP: a Flask JSON route",
        question="What does the gateway between client and app cost, or bring, against servers that have none?",
        setup=[
            f"wrk, 1 thread, {CONNECTIONS} connections kept alive, on the same machine; {rounds} interleaved rounds of"
            f" {seconds} s after {WARM_UP} s of warm-up",
            f"{WORKERS} worker processes with {THREADS} threads each, as far as the server knows both",
            *(f"{host.label}: `{host.command}`" for host in HOSTS.values()),
        ],
        tables=[Table("Medians", ["server", "requests/s", "against gthread", "p50 ms", "p99 ms"], rows)],
        ratios=[
            Ratio("Headgate against gunicorn gthread", f"{ours / theirs:.2f} ×", "≥ 1.2 ×", ours >= 1.2 * theirs),
        ],
        plots=[Plot("Requests per second", "1/s", {HOSTS[n].label: r["rate"] for n, r in medians.items()}, "more")],
        versions=_versions(),
        raw={"rounds": raw},
    )


def _versions() -> dict[str, str]:
    ours = installed(sys.executable)
    found = {name: ours[name] for name in ("headgate", "flask", "uvicorn")}
    for environment, name in (("gunicorn", "gunicorn"), ("gevent", "gevent"), ("granian", "granian")):
        found[name] = named(environment).versions[name]
    for name in ("a2wsgi", "waitress"):
        found[name] = named(name).versions[name]
    return found
