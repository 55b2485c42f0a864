"""`headgate simulate` as a user runs it, with objectives, on the Eventlet original and on Headgate: its exit codes."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.peers import EVENTLET, STORY, installed
from bench.result import ROOT, Ratio, Result, Table, milliseconds
from bench.story.hosts import HOSTS
from bench.story.run import SCENARIO, SEED
from headgate.simulate import api
from headgate.simulate.errors import ExitCode
from tests.support.postgres import Postgres

NAMES = ("eventlet", "headgate")
OBJECTIVES = ("p99(click) < 50ms", "p99(update) < 5s", "lost == 0")
VERDICTS = {
    ExitCode.PASSED: "passed",
    ExitCode.FAILED: "failed",
    ExitCode.INVALID: "invalid: the generator was the bottleneck",
    ExitCode.TARGET: "the target does not serve",
}


def command(url: str, seconds: float, report: str) -> list[str]:
    """The command line, as it is typed."""
    objectives = [word for objective in OBJECTIVES for word in ("--slo", objective)]
    scenario = str(Path(SCENARIO.partition(":")[0]).relative_to(ROOT)) + ":StoryClicks"
    users = ["--users", "300", "--rate", "50/s", "--heavy", "5%", "--for", f"{seconds:g}s", "--drain", "2min"]
    how = ["--scenario", scenario, "--param", "in_order=true", "--warmup", "5s", "--seed", str(SEED)]
    return ["headgate", "simulate", url, *users, *how, *objectives, "--connect-rate", "100", "--json", report]


def turn(name: str, postgres: Postgres, seconds: float) -> dict[str, Any]:
    """One host, rehearsed by the command; its exit code, its report and what it printed."""
    folder = Path(tempfile.mkdtemp(prefix="hg-slo-", dir="/tmp"))
    postgres.drop("story")
    database = postgres.create("story")
    namespace: dict[str, Any] = {"__name__": "schema"}
    exec((STORY / "schema.py").read_text(), namespace)  # noqa: S102 - the example's own script, run as a user would
    namespace["create"](database)
    started: Any = HOSTS[name].start(folder, database)
    try:
        with started as url:
            words = [sys.executable, "-m", *command(url, seconds, str(folder / "run.json"))]
            done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
        if not (folder / "run.json").exists():
            raise RuntimeError(done.stderr)
        return {"code": done.returncode, "report": api.read_report(folder / "run.json"), "printed": done.stdout}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(quick: bool = False) -> Result:
    """Both hosts, once: a verdict is not a median."""
    seconds = 15.0 if quick else 30.0
    with Postgres(durable=True) as postgres:
        found = {name: turn(name, postgres, seconds) for name in NAMES}
    for name, turned in found.items():
        print(f"rehearsal: {HOSTS[name].label}: exit code {turned['code']}\n{turned['printed']}", flush=True)
    return _result(found, seconds)


def _row(name: str, turned: dict[str, Any]) -> list[str]:
    report = turned["report"]
    missed = [judgement.objective for judgement in report.objectives if not judgement.passed]
    return [
        HOSTS[name].label,
        VERDICTS.get(turned["code"], "cut short"),
        str(turned["code"]),
        ", ".join(f"`{objective}`" for objective in missed) or "–",
        milliseconds(report.percentile("click", 99, lost=True)),
        milliseconds(report.percentile("update", 99, lost=True)),
        f"{report.counter('lost'):.0f}",
        milliseconds(report.generator.lag_p99),
    ]


def _result(found: dict[str, dict[str, Any]], seconds: float) -> Result:
    codes = {name: turned["code"] for name, turned in found.items()}
    columns = [
        "host",
        "verdict",
        "exit code",
        "missed",
        "click p99 ms",
        "update p99 ms",
        "lost",
        "generator lag p99 ms",
    ]
    return Result(
        name="rehearsal",
        title="The rehearsal: would it have been found?",
        question="What does `headgate simulate` say about the story's service before anyone else does?",
        setup=[
            f"`{shlex.join(command('ws://…/ws', seconds, 'run.json'))}`",
            "the same command, once on the Eventlet original and once on Headgate, with the same app",
        ],
        tables=[Table("Verdicts", columns, [_row(name, turned) for name, turned in found.items()])],
        ratios=[
            Ratio("exit code on the Eventlet original", str(codes["eventlet"]), "1 (failed)", codes["eventlet"] == 1),
            Ratio("exit code on Headgate", str(codes["headgate"]), "0 (passed)", codes["headgate"] == 0),
        ],
        plots=[],
        versions={
            "headgate": installed(sys.executable)["headgate"],
            **{name: EVENTLET.versions[name] for name in ("gunicorn", "eventlet")},
        },
        raw={name: {"exit_code": turned["code"], "printed": turned["printed"]} for name, turned in found.items()},
    )
