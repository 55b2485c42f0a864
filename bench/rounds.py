"""Interleaved rounds that can be measured in pieces: what is done is kept, and the next run goes on there.

A shared machine is quiet for minutes, not for an hour. With `--minutes 5` a benchmark stops before a turn that would
not end in time, keeps its rounds under build/bench/, and says so; the same command goes on with them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from bench.result import ROOT

KEPT = ROOT / "build" / "bench"
OLDEST = 6 * 3600.0
"""Seconds after which kept turns are of another day, and are measured again."""

Row = dict[str, float]


class Unfinished(Exception):
    """The time is up before all rounds are done; what is done is kept."""


class Budget:
    """How long this process may go on measuring, and how many rounds are enough. Without limits, as asked for."""

    def __init__(self) -> None:
        self.end = float("inf")
        self.most_rounds = 1_000_000

    def set(self, minutes: float) -> None:
        self.end = time.monotonic() + 60 * minutes

    def allows(self, seconds: float) -> bool:
        return time.monotonic() + seconds < self.end


BUDGET = Budget()


class Rounds:
    """The turns of a benchmark's hosts, round by round.

    Args:
        name: of the benchmark, or of a part of it.
        keys: the hosts, in the order of a round.
        rounds: how many.
        keep: whether turns survive the process (a quick run's do not).
        expected: seconds that a turn takes which has not been measured yet.
    """

    def __init__(self, name: str, keys: Iterable[str], rounds: int, *, keep: bool, expected: float = 0.0) -> None:
        self.name = name
        self.rounds = min(rounds, BUDGET.most_rounds)
        self._path = KEPT / f"{name}.json" if keep else None
        self.raw: dict[str, list[Row]] = {key: [] for key in keys}
        self._expected = expected
        self._longest: dict[str, float] = {}
        if self._path is not None and self._path.exists() and time.time() - self._path.stat().st_mtime < OLDEST:
            kept = json.loads(self._path.read_text())
            self.raw = {key: kept["raw"].get(key, []) for key in self.raw}
            self._longest = kept["longest"]

    def run(self, turn: Callable[[str], Row], say: Callable[[str, Row], str]) -> dict[str, list[Row]]:
        """Do what is missing; returns all rows of all hosts.

        Args:
            turn: measures one host once.
            say: a line about a turn, for the terminal.

        Raises:
            Unfinished: the budget is used up.
        """
        for number in range(self.rounds):
            for key, rows in self.raw.items():
                if len(rows) > number:
                    continue
                if not BUDGET.allows(1.2 * self._longest.get(key, self._expected)):
                    raise Unfinished(f"{self.name}: {number} of {self.rounds} rounds are done; run it again to go on")
                start = time.monotonic()
                rows.append(turn(key))
                self._longest[key] = max(self._longest.get(key, 0.0), time.monotonic() - start)
                self._save()
                print(f"{self.name}: round {number + 1}/{self.rounds} {say(key, rows[-1])}", flush=True)
        return self.raw

    def done(self) -> None:
        """The result is written: the next run measures anew."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _save(self) -> None:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            half = Path(f"{self._path}.new")
            half.write_text(json.dumps({"raw": self.raw, "longest": self._longest}))
            half.replace(self._path)
