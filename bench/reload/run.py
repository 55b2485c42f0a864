"""A reload while sockets are open and requests come: how many of each are lost."""

from __future__ import annotations

import http.client
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from bench.hosting import Host, Running, headgate_host, peer_host
from bench.peers import installed, named
from bench.result import Ratio, Result, Table, median_row
from bench.rounds import Rounds
from bench.sockets.holder import Held
from tests.support.marked import bearers
from tests.support.wait import NeverCame, until

ROUNDS, SOCKETS, CLIENTS = 5, 100, 4
LONGEST = 40.0
"""Seconds that a reload may take (gunicorn gives open connections 30)."""
APPS = Path(__file__).parents[1] / "sockets" / "apps"

HOSTS: dict[str, Host] = {
    "headgate": headgate_host("Headgate", "headgate_app:app", APPS, "--workers", "2"),
    "uvicorn": peer_host(
        "uvicorn, 2 workers",
        named("starlette"),
        "uvicorn --workers 2 --no-access-log --log-level warning --host 127.0.0.1 --port PORT starlette_app:app",
        APPS,
    ),
    "gunicorn": peer_host(
        "gunicorn asgi, 2 workers",
        named("gunicorn_asgi"),
        "gunicorn -k asgi -w 2 -b 127.0.0.1:PORT starlette_app:app",
        APPS,
    ),
    "granian": peer_host(
        "granian ASGI, 2 workers",
        named("granian_asgi"),
        "granian --interface asgi --workers 2 --host 127.0.0.1 --port PORT starlette_app:app",
        APPS,
    ),
}


class Client(threading.Thread):
    """Sends one request after the other, each on a connection of its own, and counts what failed."""

    def __init__(self, port: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.port, self.stop = port, stop
        self.done = self.failed = 0

    def run(self) -> None:
        while not self.stop.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            try:
                connection.request("POST", "/publish?times=0", body=b"short")
                self.failed += connection.getresponse().status != 204
            except (OSError, http.client.HTTPException):
                self.failed += 1
            finally:
                connection.close()
            self.done += 1
            self.stop.wait(0.01)


def workers(server: Running) -> set[int]:
    """The processes that a reload replaces: Headgate's app and job workers, a peer's children."""
    found = bearers(server.mark)
    ours = {pid for pid, line in found.items() if "headgate.roles.app" in line or "headgate.roles.jobs" in line}
    return ours or {pid for pid, line in found.items() if pid != server.pid and "resource_tracker" not in line}


def turn(host: Host) -> dict[str, float]:
    """One server: sockets and clients, a SIGHUP, and what was lost by the time the old workers are gone."""
    with host.turn() as server:
        sockets = [Held(("127.0.0.1", server.port), "/ws", "") for _ in range(SOCKETS)]
        for one in sockets:
            one.finish()
        stop = threading.Event()
        clients = [Client(server.port, stop) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        until(lambda: sum(client.done for client in clients) > 50, "requests before the reload")
        old, start = workers(server), time.monotonic()
        os.kill(server.pid, signal.SIGHUP)
        try:
            until(lambda: not old & set(bearers(server.mark)), "the old workers gone", LONGEST)
        except NeverCame:
            print(f"reload: {host.label}: old workers still there after {LONGEST:g} s", flush=True)
        took = time.monotonic() - start
        answered = sum(client.done for client in clients)
        until(lambda: sum(client.done for client in clients) > answered + 50, "requests after the reload", 60)
        stop.set()
        for client in clients:
            client.join()
        lost = sum(one.ended() for one in sockets)
        for one in sockets:
            one.socket.close()
    failed, done = sum(client.failed for client in clients), sum(client.done for client in clients)
    return {"closed": float(lost), "failed": float(failed), "requests": float(done), "took": took}


def measure(quick: bool = False) -> Result:
    """All servers, interleaved; medians of the rounds."""
    rounds = 1 if quick else ROUNDS
    turns = Rounds("reload", HOSTS, rounds, keep=not quick)
    raw = turns.run(lambda name: turn(HOSTS[name]), lambda name, row: f"{HOSTS[name].label}: {row}")
    result = _result({name: median_row(rows) for name, rows in raw.items()}, raw, turns.rounds)
    turns.done()
    return result


def _result(medians: dict[str, dict[str, float]], raw: dict[str, Any], rounds: int) -> Result:
    worst = {key: max(row[key] for row in raw["headgate"]) for key in ("closed", "failed")}
    rows = [
        [
            HOSTS[name].label,
            f"{row['closed']:.0f} of {SOCKETS}",
            f"{row['failed']:.0f} of {row['requests']:,.0f}",
            f"{row['took']:.1f}",
        ]
        for name, row in medians.items()
    ]
    return Result(
        name="reload",
        title="A reload under load",
        question="Which sockets close and which requests fail when new code is loaded?",
        setup=[
            f"{SOCKETS} open WebSockets, {CLIENTS} clients that send requests one after the other on new connections;"
            f" SIGHUP to the parent; counted until the old workers are gone, at most {LONGEST:g} s; {rounds} rounds",
            *(f"{host.label}: `{host.command}`" for host in HOSTS.values()),
        ],
        tables=[Table("Medians", ["server", "sockets closed", "requests failed", "seconds"], rows)],
        ratios=[
            Ratio("sockets closed, worst round", f"{worst['closed']:.0f}", "0", not worst["closed"]),
            Ratio("requests failed, worst round", f"{worst['failed']:.0f}", "0", not worst["failed"]),
        ],
        plots=[],
        versions=_versions(),
        raw={"rounds": raw},
    )


def _versions() -> dict[str, str]:
    found = {"headgate": installed(sys.executable)["headgate"]}
    wanted = {"starlette": "uvicorn", "gunicorn_asgi": "gunicorn", "granian_asgi": "granian"}
    return found | {package: named(peer).versions[package] for peer, package in wanted.items()}
