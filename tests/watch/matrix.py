"""Runs the matrix once: all kinds of loops side by side under `headgate watch run`, and what came of it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from headgate.watch import journal
from headgate.watch.model import Incident
from tests.support.process import Process
from tests.watch.desk import DESKS
from tests.watch.servers import slow_dns, slow_web

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 240.0


@dataclass(frozen=True)
class Truth:
    """What a desk wrote down of one block, on CLOCK_MONOTONIC in nanoseconds."""

    name: str
    begin: int
    end: int

    @property
    def seconds(self) -> float:
        return (self.end - self.begin) / 1e9


@dataclass(frozen=True)
class Outcome:
    """One kind's truth and the watch's incidents of it."""

    truth: dict[str, Truth]
    incidents: list[Incident]

    def of(self, name: str) -> list[Incident]:
        """The incidents that touch a block."""
        truth = self.truth[name]
        return [
            each
            for each in self.incidents
            if each.ended > truth.begin and each.ended - each.seconds * 1e9 < truth.end and not each.unfinished
        ]


def run(folder: Path, addresses: dict[str, str], only: str = "") -> tuple[dict[str, Outcome], str]:
    """Run all desks; returns the outcomes by kind, and what was printed."""
    with slow_web() as web, slow_dns() as dns:
        given = json.dumps({**addresses, "web": web, "dns": str(dns)})
        python = f"{sys.executable} -m tests.watch.desk"
        script = "".join(
            f"{python} {kind} {folder} '{given}' {number * 4} {only} & " for number, kind in enumerate(DESKS)
        )
        watch = [sys.executable, "-m", "headgate", "watch", "run", "--quiet", "--folder", str(folder / "watched")]
        limits = ["--threshold", "100ms", "--handler-threshold", "100ms"]
        command = [*watch, *limits, "--", "sh", "-c", f"{script} wait"]
        process = Process("matrix", command, folder, cwd=ROOT, env={"PYTHONPATH": str(ROOT)})
        try:
            code = process.popen.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the matrix took longer than {DEADLINE:g} s:\n{process.log()}") from None
        finally:
            process.stop()
    assert code == 0, process.log()
    incidents = list(journal.read(folder / "watched"))
    return {kind: _outcome(folder, kind, incidents) for kind in DESKS}, process.log()


def _outcome(folder: Path, kind: str, incidents: list[Incident]) -> Outcome:
    lines = (folder / f"{kind}.truth").read_text().splitlines()
    truth = [Truth(**json.loads(line)) for line in lines]
    mine = [each for each in incidents if f" {kind} " in f" {each.process} " or f"-m {kind}" in each.process]
    return Outcome({each.name: each for each in truth}, mine or [each for each in incidents if each.kind == kind])
