"""The observer from outside: boards that come, go and are replaced, looks that fail, and what it leaves behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headgate.watch.board import H_BORN, Board, BoardView
from headgate.watch.observer import Observer
from headgate.watch.outside_samples import LARGEST, Looks, OutsideSamples, Seen
from headgate.watch.stacks import Frame


def observer_of(folder: Path) -> Observer:
    """One that is moved by hand: its thread is not started."""
    return Observer(folder, look=seen)


def seen(pid: int, at: int = 1, frames: int = 1) -> Seen:
    return Seen(at, at, pid, {pid: (Frame("/srv/orders.py", 41, "pay"),) * frames})


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


def test_of_a_board_that_is_gone_no_look_is_left(tmp_path: Path) -> None:
    observer = observer_of(tmp_path)
    made = Board(tmp_path, "p", 20_000_000)
    observer._scan()
    (each,) = observer._observed.values()
    observer._read(each)
    path = tmp_path / f"{os.getpid()}.seen"
    assert path.stat().st_mode & 0o777 == 0o600
    made.remove()
    observer._scan()
    assert list(tmp_path.iterdir()) == [], "the process lives, and is not watched any more"


def test_a_number_that_is_another_processs_by_now_is_not_taken_for_it(tmp_path: Path) -> None:
    observer = observer_of(tmp_path)
    made = Board(tmp_path, "p", 20_000_000)
    observer._scan()
    assert names(observer) == ["p"]
    made.cells[H_BORN] += 1
    view = BoardView(tmp_path / f"{os.getpid()}.board")
    assert not view.alive()
    view.close()
    observer._scan()
    assert (names(observer), list(tmp_path.iterdir())) == ([], [])


def test_only_the_last_looks_are_kept_and_each_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / f"{os.getpid()}.seen"
    looks, read = Looks(path), OutsideSamples(tmp_path)
    length = len(seen(os.getpid(), frames=1000).to_json())
    for at in range(1, 4 * LARGEST // length):
        looks.add(seen(os.getpid(), at, frames=1000))
        assert path.stat().st_size <= LARGEST
        assert len(read.of(os.getpid(), at, at)) == 1
    assert [each.begun for each in read.recent] == sorted({each.begun for each in read.recent})
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    late = OutsideSamples(tmp_path)
    late._read()
    assert late.recent[-1] == read.recent[-1]


def test_a_file_of_looks_that_is_gone_is_begun_anew_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / f"{os.getpid()}.seen"
    looks, read = Looks(path), OutsideSamples(tmp_path)
    looks.add(seen(1, 1))
    path.unlink()
    with pytest.raises(OSError, match="No such file"):
        looks.add(seen(1, 2))
    looks.add(seen(1, 3))
    read._read()
    assert [each.begun for each in read.recent] == [1, 2, 3]
