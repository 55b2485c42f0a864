"""The observer from outside: boards that come, go and are replaced, looks that fail, and what it leaves behind."""

from __future__ import annotations

import os
from pathlib import Path

from headgate.watch.board import Board
from headgate.watch.observer import Observer


def observer_of(folder: Path) -> Observer:
    """One that is moved by hand: its thread is not started."""
    return Observer(folder)


def names(observer: Observer) -> list[str]:
    return [each.view.name for each in observer._observed.values()]


def test_a_board_that_takes_the_place_of_another_is_the_one_that_is_observed(tmp_path: Path) -> None:
    observer = observer_of(tmp_path)
    Board(tmp_path, "before", 20_000_000)
    observer._scan()
    assert names(observer) == ["before"]
    made = Board(tmp_path, "after", 20_000_000)
    observer._scan()
    assert names(observer) == ["after"]
    assert (tmp_path / f"{os.getpid()}.board").exists(), "it is the new one's"
    made.remove()
    observer._scan()
    assert names(observer) == []
