"""The story of the founding design, measured: what a light click feels while others' updates run."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from bench.peers import EVENTLET, STARLETTE_RQ, STORY, installed
from bench.result import Plot, Ratio, Result, Table, first_line, milliseconds
from bench.rounds import Rounds
from bench.story.hosts import HOSTS, RQ_WORKERS, Host
from headgate.simulate import api
from tests.support.postgres import Postgres
from tests.support.process import program

USERS, RATE, HEAVY = 300, "50/s", 0.05
ROUNDS, SECONDS = 5, 15.0
SCENARIO = f"{Path(__file__).with_name('clicks.py')}:StoryClicks"
SEED = 20_261_123


def turn(host: Host, postgres: Postgres, seconds: float, seed: int) -> dict[str, float]:
    """One host under the load, on a fresh table; times in seconds."""
    folder = Path(tempfile.mkdtemp(prefix="hg-story-", dir="/tmp"))
    postgres.drop("story")
    database = postgres.create("story")
    _schema(database)
    try:
        started: Any = host.start(folder, database)
        with started as url:
            report = api.run(
                url,
                scenario=SCENARIO,
                params={"in_order": host.in_order},
                users=USERS,
                rate=RATE,
                heavy=HEAVY,
                seconds=seconds,
                warmup=5.0,
                drain=30.0,
                seed=seed,
                ordered=host.ordered,
                connect_rate=100.0,
            )
        if report.problem:
            raise RuntimeError(f"{host.label}: {report.problem}")
        return _numbers(report, host)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _schema(database: str) -> None:
    namespace: dict[str, Any] = {"__name__": "schema"}
    exec((STORY / "schema.py").read_text(), namespace)  # noqa: S102 - the example's own script, run as a user would
    namespace["create"](database)


def _numbers(report: Any, host: Host) -> dict[str, float]:
    own = "click_behind_own_update"
    return {
        "light_p50": report.percentile("click", 50, lost=True),
        "light_p99": report.percentile("click", 99, lost=True),
        "own_p50": report.percentile(own, 50, lost=True),
        "own_count": report.statistic(own, "count"),
        "light_count": report.statistic("click", "count"),
        "heavy_p50": report.percentile(host.series, 50, lost=True),
        "heavy_p99": report.percentile(host.series, 99, lost=True),
        "heavy_done": report.statistic(host.series, "count"),
        "lost": report.counter("lost"),
        "disconnects": sum(report.closes.values()),
        "generator_lag_p99": report.generator.lag_p99,
        "invalid": float(bool(report.invalid)),
    }


def measure(quick: bool = False) -> Result:
    """All hosts, interleaved; medians of the rounds."""
    rounds, seconds = (1, 15.0) if quick else (ROUNDS, SECONDS)
    turns = Rounds("story", HOSTS, rounds, keep=not quick)
    with Postgres(durable=True) as postgres:
        raw = turns.run(
            lambda name: turn(HOSTS[name], postgres, seconds, SEED + len(turns.raw[name])),
            lambda name, row: f"{HOSTS[name].label}: {_brief(row)}",
        )
    result = _result(raw, turns.rounds, seconds)
    turns.done()
    return result


def _brief(row: dict[str, float]) -> str:
    heavy = f"heavy p50 {milliseconds(row['heavy_p50'])} ms"
    return f"light p50/p99 {milliseconds(row['light_p50'])}/{milliseconds(row['light_p99'])} ms, {heavy}"


def _result(raw: dict[str, list[dict[str, float]]], rounds: int, seconds: float) -> Result:
    medians = {name: {key: median(row[key] for row in rows) for key in rows[0]} for name, rows in raw.items()}
    table = Table(
        "Latency in ms from the intended click (median of the rounds)",
        ["host", "light p50", "light p99", "behind own update p50", "heavy p50", "heavy p99", "heavy done", "lost"],
        [_row(HOSTS[name].label, row) for name, row in medians.items()],
    )
    p99 = {HOSTS[name].label: row["light_p99"] * 1000 for name, row in medians.items()}
    heavy = {HOSTS[name].label: min(row["heavy_p50"], 60.0) * 1000 for name, row in medians.items()}
    return Result(
        name="story",
        title="The story: a click that does nothing, while others' updates run",
        question="How long does a light click take while 5 % of the clicks are 4,000-row updates in PostgreSQL?",
        setup=[
            f"{USERS} users on WebSockets, {RATE} clicks all together, {HEAVY:.0%} of them heavy; open model, Poisson;"
            f" {rounds} interleaved rounds of {seconds:g} s, the first 5 s not timed",
            "heavy: 4,000 single-row UPDATEs with psycopg 3 in one transaction, a new connection for each; with"
            " bulk.update: the same rows in chunks that commit with their checkpoint",
            "the Eventlet original: gunicorn 23, one Eventlet worker (examples/story/peer_eventlet)",
            f"Starlette + uvicorn + RQ: one process, {RQ_WORKERS} RQ workers (examples/story/peer_starlette_rq)",
            "Headgate: `headgate run` with its defaults",
            "light: clicks of users who have no update of their own under way; where the app's own loop answers a"
            " connection's messages in order, a click behind one's own update is in a column of its own",
        ],
        tables=[table],
        ratios=_ratios(medians),
        plots=[
            Plot("p99 of a light click", "ms", p99, logarithmic=True),
            Plot("p50 of a heavy click, until its work is done", "ms", heavy, logarithmic=True),
        ],
        versions=_versions(),
        raw={"rounds": raw},
    )


def _row(label: str, row: dict[str, float]) -> list[str]:
    times = [milliseconds(row[key]) for key in ("light_p50", "light_p99", "own_p50", "heavy_p50", "heavy_p99")]
    if not row["own_count"]:
        times[2] = "–"
    return [label, *times, f"{row['heavy_done']:.0f}", f"{row['lost']:.0f}"]


def _ratios(medians: dict[str, dict[str, float]]) -> list[Ratio]:
    inline, jobs = medians["headgate"], medians["headgate_jobs"]
    original, rewrite = medians["eventlet"], medians["starlette"]
    invalid = sum(row["invalid"] for row in medians.values())
    return [
        Ratio(
            "light p99, app unchanged",
            f"{milliseconds(inline['light_p99'])} ms",
            "≤ 20 ms",
            inline["light_p99"] <= 0.020,
        ),
        Ratio("… the Eventlet original beside it", f"{original['light_p99'] / inline['light_p99']:,.0f} × that"),
        Ratio(
            "light p99 with jobs, against Starlette + RQ",
            f"{jobs['light_p99'] / rewrite['light_p99']:.2f} ×",
            "≤ 1 (under 2 is a tie on this machine)",
            jobs["light_p99"] <= rewrite["light_p99"] * 1.0,
        ),
        Ratio(
            "heavy work done, p50 with jobs, against Starlette + RQ",
            f"{jobs['heavy_p50'] / rewrite['heavy_p50']:.2f} ×",
            "< 1",
            jobs["heavy_p50"] < rewrite["heavy_p50"],
        ),
        Ratio("rounds that the load generator could not keep up with", f"{invalid:.0f}", "0", not invalid),
    ]


def _versions() -> dict[str, str]:
    ours = installed(sys.executable)
    names = {"headgate": ours, "flask-sock": ours, "psycopg": ours}
    found = {name: versions[name] for name, versions in names.items()}
    found |= {name: EVENTLET.versions[name] for name in ("gunicorn", "eventlet")}
    found |= {name: STARLETTE_RQ.versions[name] for name in ("starlette", "uvicorn", "rq")}
    found["PostgreSQL"] = first_line(program("postgres"), "--version").split()[2]
    found["Redis"] = first_line(program("redis-server", "valkey-server"), "--version").split("v=")[-1].split()[0]
    return found
