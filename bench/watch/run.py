"""Blocking-call monitors: what they find in the matrix of loops and calls, and what each costs per message."""

from __future__ import annotations

import sys
from typing import Any

from bench.peers import installed, named
from bench.result import Plot, Ratio, Result, Table
from bench.watch import cost, finds
from bench.watch.cost import Cost
from bench.watch.detectors import PEERS
from bench.watch.finds import Found
from tests.watch import blocks

ENVIRONMENT = named("watch")
KINDS = ("asyncio", "uvloop", "eventlet", "gevent")
WORK = 100.0
PAIRS, PEERS_PAIRS, REST = 40, 10, 12.0
BARE_BAR, WORK_BAR, IDLE_BAR, MEMORY_BAR = 0.04, 0.01, 0.005, 3.0


def measure(quick: bool = False) -> Result:
    """The costs, then the matrix."""
    pairs, peers_pairs, rest = (4, 2, 4.0) if quick else (PAIRS, PEERS_PAIRS, REST)
    bare = {("ours", kind): cost.per_message(ENVIRONMENT, kind, "ours", 0, pairs) for kind in KINDS}
    worked = {kind: cost.per_message(ENVIRONMENT, kind, "ours", WORK, pairs) for kind in KINDS}
    for detector, (kind, _) in PEERS.items():
        bare[detector, kind] = cost.per_message(ENVIRONMENT, kind, detector, 0, peers_pairs)
    rests = {kind: cost.at_rest(ENVIRONMENT, kind, rest) for kind in KINDS}
    with finds.databases() as addresses:
        ours = finds.ours(addresses)
        peers = {detector: finds.peer(ENVIRONMENT, detector, addresses) for detector in PEERS}
    return _result(bare, worked, rests, ours, peers, pairs)


def _result(
    bare: dict[tuple[str, str], Cost],
    worked: dict[str, Cost],
    rests: dict[str, tuple[float, float]],
    ours: dict[str, dict[str, Found]],
    peers: dict[str, dict[str, Found]],
    pairs: int,
) -> Result:
    return Result(
        name="watch",
        title="What blocks: monitors of blocking calls",
        question="What does each monitor find in the same matrix of blocking calls, and what does it cost?",
        setup=[
            "matrix: 19 kinds of blocking calls of 0.25 s and more on each kind of loop (`tests/watch/blocks.py`);"
            " threshold 100 ms",
            "found: it said anything of the block; named: what it said has the function that blocked in it",
            f"cost: CPU time per message of an echo server beside another one, served in turn; {pairs} pairs of batches"
            " with and without the watch, which is turned on and off in the one process; median ± 95 % of the true one."
            " A peer's detector is on in a process of its own, whose cost differs by some percent of itself",
        ],
        tables=[_found_table(ours, peers), _cost_table(bare, worked, rests)],
        ratios=_ratios(bare, worked, rests, ours, peers),
        plots=[
            Plot(
                "CPU time added per message, bare echo loop",
                "%",
                {_label(detector, kind): each.share * 100 for (detector, kind), each in bare.items()},
            )
        ],
        versions=_versions(),
        raw={
            "bare": {f"{d} {k}": vars(each) for (d, k), each in bare.items()},
            "worked": {kind: vars(each) for kind, each in worked.items()},
        },
    )


def _label(detector: str, kind: str) -> str:
    return f"headgate watch, {kind}" if detector == "ours" else PEERS[detector][1]


def _found_table(ours: dict[str, dict[str, Found]], peers: dict[str, dict[str, Found]]) -> Table:
    columns = ["call", *(f"watch, {kind}" for kind in ours), *(PEERS[detector][1] for detector in peers)]
    rows = [
        [name, *(_mark(each[name]) for each in ours.values()), *(_mark(each[name]) for each in peers.values())]
        for name in blocks.NAMES
    ]
    rows.append(["named of 19", *(_count(each) for each in [*ours.values(), *peers.values()])])
    return Table("What is found (● named, ○ found but not named, – nothing)", columns, rows)


def _mark(found: Found) -> str:
    return "●" if found.named else "○" if found.seen else "–"


def _count(found: dict[str, Found]) -> str:
    return str(sum(each.named for each in found.values()))


def _cost_table(
    bare: dict[tuple[str, str], Cost], worked: dict[str, Cost], rests: dict[str, tuple[float, float]]
) -> Table:
    rows = []
    for (detector, kind), each in bare.items():
        mine = detector == "ours"
        rows.append(
            [
                _label(detector, kind),
                f"{each.plain:.1f}",
                f"{each.share:+.1%} ± {each.error:.1%}",
                f"{worked[kind].share:+.2%} ± {worked[kind].error:.2%}" if mine else "",
                f"{rests[kind][0]:.2%}" if mine else "",
                f"{rests[kind][1]:.1f}" if mine else "",
            ]
        )
    columns = ["monitor", "µs/message without", "bare echo", "100 µs handler", "CPU at rest", "MB"]
    return Table("What it costs", columns, rows)


def _ratios(
    bare: dict[tuple[str, str], Cost],
    worked: dict[str, Cost],
    rests: dict[str, tuple[float, float]],
    ours: dict[str, dict[str, Found]],
    peers: dict[str, dict[str, Found]],
) -> list[Ratio]:
    most = max(each.share for (detector, _), each in bare.items() if detector == "ours")
    work = max(each.share for each in worked.values())
    idle, memory = max(each[0] for each in rests.values()), max(each[1] for each in rests.values())
    missed = [
        f"{name} ({PEERS[detector][1]})"
        for detector, found in peers.items()
        for name, each in found.items()
        if each.named and not ours[PEERS[detector][0]][name].named
    ]
    cells = sum(each.named for found in ours.values() for each in found.values())
    whole = sum(len(found) for found in ours.values())
    return [
        Ratio("cells of the matrix caught, named and measured", f"{cells} of {whole}", "all", cells == whole),
        Ratio("calls that a peer names and the watch does not", ", ".join(missed) or "none", "none", not missed),
        Ratio("bare echo, worst kind of loop", f"{most:+.1%}", "≤ 4 %", most <= BARE_BAR),
        Ratio("100 µs handler, worst kind of loop", f"{work:+.2%}", "≤ 1 %", work <= WORK_BAR),
        Ratio("CPU at rest, worst kind of loop", f"{idle:.2%}", "≤ 0.5 %", idle <= IDLE_BAR),
        Ratio("memory, worst kind of loop", f"{memory:.1f} MB", "≤ 3 MB", memory <= MEMORY_BAR),
    ]


def _versions() -> dict[str, str]:
    found: dict[str, Any] = {"headgate": installed(sys.executable)["headgate"]}
    return found | {
        name: ENVIRONMENT.versions[name] for name in ("eventlet", "gevent", "uvloop", "blockbuster", "aiodebug")
    }
