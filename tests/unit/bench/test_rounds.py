"""Rounds in pieces: nothing is measured twice, nothing is left out, and a day's old turns are not mixed in."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bench import rounds
from bench.rounds import Budget, Rounds, Row, Unfinished


class Turns:
    """Counts its calls, and uses up a budget after so many."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
        self.calls: list[str] = []
        self.most = most
        self.most_rounds = 9
        monkeypatch.setattr(rounds, "BUDGET", self)

    def allows(self, _: float) -> bool:
        return len(self.calls) < self.most

    def __call__(self, key: str) -> Row:
        self.calls.append(key)
        return {"call": float(len(self.calls))}


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(rounds, "KEPT", tmp_path)
    return tmp_path


def play(turn: Turns, *, keep: bool = True) -> tuple[Rounds, dict[str, list[Row]]]:
    turns = Rounds("sample", ("a", "b"), 2, keep=keep)
    return turns, turns.run(turn, lambda key, row: f"{key} {row}")


def test_pieces_go_on_where_the_last_one_stopped(monkeypatch: pytest.MonkeyPatch, kept: Path) -> None:
    with pytest.raises(Unfinished, match="1 of 2 rounds are done"):
        play(Turns(monkeypatch, 3))
    turn = Turns(monkeypatch, 9)
    turns, raw = play(turn)
    assert turn.calls == ["b"]
    assert raw == {"a": [{"call": 1.0}, {"call": 3.0}], "b": [{"call": 2.0}, {"call": 1.0}]}
    turns.done()
    assert not list(kept.iterdir())


def test_a_quick_run_keeps_nothing_and_takes_nothing(monkeypatch: pytest.MonkeyPatch, kept: Path) -> None:
    with pytest.raises(Unfinished):
        play(Turns(monkeypatch, 3))
    turn = Turns(monkeypatch, 9)
    play(turn, keep=False)
    assert turn.calls == ["a", "b", "a", "b"]
    assert len(list(kept.iterdir())) == 1


def test_turns_of_another_day_are_measured_again(monkeypatch: pytest.MonkeyPatch, kept: Path) -> None:
    with pytest.raises(Unfinished):
        play(Turns(monkeypatch, 3))
    old = time.time() - rounds.OLDEST - 1
    os.utime(kept / "sample.json", (old, old))
    turn = Turns(monkeypatch, 9)
    play(turn)
    assert len(turn.calls) == 4


def test_fewer_rounds_may_be_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    turn = Turns(monkeypatch, 9)
    turn.most_rounds = 1
    turns, raw = play(turn)
    assert (turns.rounds, turn.calls, len(raw["a"])) == (1, ["a", "b"], 1)


def test_a_budget_ends_before_a_turn_that_would_not_fit() -> None:
    budget = Budget()
    assert budget.allows(1e9)
    budget.set(1.0)
    assert budget.allows(30)
    assert not budget.allows(61)
