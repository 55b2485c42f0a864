"""The observer from outside: boards that come, go and are replaced, looks that fail, and what it leaves behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from headgate.watch.board import H_BEAT, H_BORN, H_DUMPING, H_SIGHT, SIGHTS, Board, BoardView
from headgate.watch.native import MS, SECOND, clock
from headgate.watch.observer import SELDOM, Observed, Observer
from headgate.watch.outside_samples import LARGEST, Looks, OutsideSamples, Seen
from headgate.watch.pyspy import CannotSee
from headgate.watch.stacks import Frame
from tests.support.wait import until


def observer_of(folder: Path, look: Callable[[int], Seen] | None = None) -> Observer:
    """One that is moved by hand: its thread is not started."""
    return Observer(folder, look=look or seen)


def turn(observer: Observer, after: int = 0) -> Observed:
    """A turn of the only process, so many nanoseconds after it was found, and the end of its look if it began one."""
    (each,) = observer._observed.values()
    observer._turn(each, each.found + after, late=False)
    if each.looking is not None:
        each.looking.join(30)
    return each


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


class Failing:
    """A look that fails as it is told to."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.looks = 0

    def __call__(self, pid: int) -> Seen:
        self.looks += 1
        if self.errors:
            raise self.errors.pop(0)
        return seen(pid)


def watched(folder: Path) -> Board:
    """A board whose watchdog has turned."""
    made = Board(folder, "p", 20_000_000)
    made.cells[H_BEAT] = clock() + 3600 * SECOND
    return made


@pytest.mark.parametrize("error", [CannotSee("broken", "once"), CannotSee("missing", "once"), RuntimeError("once")])
def test_a_first_look_that_fails_is_tried_again_after_a_while(tmp_path: Path, error: Exception) -> None:
    made, look = watched(tmp_path), Failing(error, error)
    observer = observer_of(tmp_path, look)
    observer._scan()
    began = []
    for after in range(2000 * MS, 9000 * MS, 20 * MS):
        before = look.looks
        turn(observer, after)
        if look.looks > before:
            began.append(after // MS)
    first, second, third = began
    assert third - second > second - first > 500
    assert SIGHTS[made.cells[H_SIGHT]] == "py-spy"
    made.remove()


def test_what_fails_for_good_is_tried_ever_more_seldom_and_a_refusal_not_at_all(tmp_path: Path) -> None:
    made, look = watched(tmp_path), Failing(CannotSee("broken", "no"), *[CannotSee("refused", "no")] * 2)
    observer = observer_of(tmp_path, look)
    observer._scan()
    for after in range(2 * SECOND, 4 * SELDOM, SECOND):
        turn(observer, after)
    assert (look.looks, SIGHTS[made.cells[H_SIGHT]]) == (2, "refused")
    made.remove()


def test_looks_that_cannot_be_left_for_the_process_do_not_follow_each_other_at_once(tmp_path: Path) -> None:
    made, look = watched(tmp_path), Failing()
    observer = observer_of(tmp_path, look)
    observer._scan()
    (tmp_path / f"{os.getpid()}.seen.new").mkdir()
    for after in range(2000 * MS, 2900 * MS, 20 * MS):
        each = turn(observer, after)
    assert look.looks == 1
    assert "directory" in each.problem
    assert made.cells[H_DUMPING] == 0
    made.remove()


def test_a_thread_that_cannot_be_started_does_not_end_the_observer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    observer = observer_of(tmp_path)
    observer.start()
    tried: list[str] = []

    class Refused(threading.Thread):
        def start(self) -> None:
            tried.append(self.name)
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading, "Thread", Refused)
    made = Board(tmp_path, "p", 20_000_000)
    made.cells[H_BEAT] = 1
    try:
        until(lambda: len(tried) >= 2, "two looks that were tried", 60)
        assert observer._thread.is_alive()
    finally:
        observer.stop()
        made.remove()
    assert made.cells[H_DUMPING] == 0
    assert capfd.readouterr().err.count("can't start new thread") == 1
