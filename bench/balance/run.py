"""200 WebSockets at once on four processes: how many does each of them hold?"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from bench.hosting import Host, Running, headgate_host, peer_host
from bench.peers import installed, named
from bench.result import Plot, Ratio, Result, Table, median_row
from bench.rounds import Rounds
from bench.sockets.holder import Held
from tests.support.marked import bearers
from tests.support.wait import until

ROUNDS, SOCKETS, PROCESSES = 5, 200, 4
APPS = Path(__file__).parents[1] / "sockets" / "apps"

HOSTS: dict[str, Host] = {
    "headgate": headgate_host("Headgate, 4 gateways", "headgate_app:app", APPS, "--gateways", "4"),
    "uvicorn": peer_host(
        "uvicorn, 4 workers",
        named("starlette"),
        "uvicorn --workers 4 --no-access-log --log-level warning --host 127.0.0.1 --port PORT starlette_app:app",
        APPS,
    ),
    "gunicorn": peer_host(
        "gunicorn asgi, 4 workers",
        named("gunicorn_asgi"),
        "gunicorn -k asgi -w 4 -b 127.0.0.1:PORT starlette_app:app",
        APPS,
    ),
    "granian": peer_host(
        "granian ASGI, 4 workers",
        named("granian_asgi"),
        "granian --interface asgi --workers 4 --host 127.0.0.1 --port PORT starlette_app:app",
        APPS,
    ),
}


def sockets(server: Running) -> dict[int, int]:
    """How many sockets each of the server's processes has open, of whatever kind."""
    found = {}
    for pid in bearers(server.mark):
        try:
            names = [os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
        except OSError:
            continue
        found[pid] = sum(name.startswith("socket:") for name in names)
    return found


def turn(name: str) -> dict[str, float]:
    """One burst: what the processes that hold connections hold, the fullest first."""
    with HOSTS[name].turn() as server:
        first = [Held(("127.0.0.1", server.port), "/ws", "") for _ in range(PROCESSES * 4)]
        for held in first:  # all processes are up, and the lanes are learned
            held.finish()
            held.socket.close()
        before: dict[int, int] = {}

        def calm() -> bool:
            nonlocal before
            last, before = before, sockets(server)
            return last == before

        until(calm, "the first connections are closed", 20, 0.5)
        burst = [Held(("127.0.0.1", server.port), "/ws", "") for _ in range(SOCKETS)]
        for held in burst:
            held.finish()
        after = sockets(server)
        grown = sorted((after[pid] - before.get(pid, 0) for pid in after), reverse=True)[:PROCESSES]
        for held in burst:
            held.socket.close()
    if sum(grown) < SOCKETS * 0.95:
        raise RuntimeError(f"{HOSTS[name].label}: only {sum(grown)} of {SOCKETS} connections were found: {grown}")
    return {"ratio": grown[0] / max(1, grown[-1])} | {f"{place + 1}.": count for place, count in enumerate(grown)}


def measure(quick: bool = False) -> Result:
    """All servers, interleaved; the medians, and the worst of the rounds."""
    rounds = 1 if quick else ROUNDS
    turns = Rounds("balance", HOSTS, rounds, keep=not quick)
    raw = turns.run(turn, lambda name, row: f"{HOSTS[name].label}: {_spread(row)}, {row['ratio']:.2f}")
    result = _result({name: median_row(rows) for name, rows in raw.items()}, raw, rounds)
    turns.done()
    return result


def _spread(row: dict[str, float]) -> str:
    return " / ".join(f"{row[f'{place + 1}.']:.0f}" for place in range(PROCESSES))


def _result(medians: dict[str, dict[str, float]], raw: Any, rounds: int) -> Result:
    worst = {name: max(row["ratio"] for row in rows) for name, rows in raw.items()}
    rows = [
        [HOSTS[name].label, _spread(row), f"{row['ratio']:.2f}", f"{worst[name]:.2f}"] for name, row in medians.items()
    ]
    return Result(
        name="balance",
        title="Connections over processes",
        question=f"{SOCKETS} WebSockets come at once and stay. How many does each of {PROCESSES} processes hold?",
        setup=[
            f"{rounds} interleaved rounds, each on a fresh server; counted are the sockets that each process has more"
            " than before the burst",
            *(f"{host.label}: `{host.command}`" for host in HOSTS.values()),
        ],
        tables=[
            Table("The fullest process first", ["server", "medians", "fullest / emptiest", "worst of the rounds"], rows)
        ],
        ratios=[
            Ratio(
                "fullest to emptiest gateway, worst round",
                f"{worst['headgate']:.2f}",
                "≤ 1.3",
                worst["headgate"] <= 1.3,
            )
        ],
        plots=[
            Plot(
                "Fullest to emptiest process",
                "times",
                {HOSTS[name].label: row["ratio"] for name, row in medians.items()},
            )
        ],
        versions={"headgate": installed(sys.executable)["headgate"]}
        | {package: named("starlette").versions[package] for package in ("starlette", "uvicorn")}
        | {"gunicorn": named("gunicorn_asgi").versions["gunicorn"]}
        | {"granian": named("granian_asgi").versions["granian"]},
        raw={"rounds": raw},
    )
