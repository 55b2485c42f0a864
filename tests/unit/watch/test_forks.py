"""Lines after a fork: what a child runs on its parent's loop is no turn of that loop until the child polls itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.watch.adapters.asyncio_loops import stamped
from headgate.watch.board import R_SINCE, BoardView
from headgate.watch.line import Line
from headgate.watch.native import clock, getpid
from headgate.watch.process import Options, Watch


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    """With a limit that every stretch is above."""
    watch = Watch(Options(folder=tmp_path, limit=1e-9, handler_limit=1e-9, log=None))
    yield watch
    watch.stop()


def fork(watch: Watch, line: Line) -> None:
    """What the hook does in a child, on the only thread that is left there."""
    assert watch._watchdog is not None
    watch._watchdog.stop(30)
    line.ended.clear()
    watch.forked()
    assert watch._watchdog is not None
    watch._watchdog.stop(30)  # the child's own looks only when it is told to


def since_outside(folder: Path, line: Line) -> int:
    view = BoardView(folder / f"{getpid()}.board")
    try:
        return int(view.cells[line.at + R_SINCE])
    finally:
        view.close()


def test_a_loop_counts_once_it_has_polled_in_the_child(watch: Watch, tmp_path: Path) -> None:
    line = watch.line("asyncio")
    assert line is not None
    (poll,) = stamped(line, lambda _timeout: None)
    poll()
    assert line.since()
    fork(watch, line)
    assert (line.turns(), line.since()) == (False, 0)
    poll()
    assert line.turns()
    assert line.since()
    assert not line.ended, "what ran since the fork was no turn"
    poll()
    assert len(line.ended) == 1


def test_a_loop_that_is_asked_counts_once_it_has_answered_in_the_child(watch: Watch) -> None:
    asked: list[int] = []
    line = watch.pinged_line("gevent", lambda: asked.append(clock()))
    fork(watch, line)
    asked.clear()
    line._asked = 0
    for _ in range(3):
        line.look(clock(), clock(), 0)
    assert (line.turns(), line.since(), len(asked)) == (False, 0, 1)
    line.pong()
    assert line.turns()
    assert not line.ended
    line.look(clock(), clock(), 0)
    assert line.since()


def test_a_handlers_thread_counts_once_it_has_begun_a_handler_in_the_child(watch: Watch, tmp_path: Path) -> None:
    line = watch.line("thread")
    assert line is not None
    line.busy()
    fork(watch, line)
    assert (line.turns(), line.since()) == (False, 0)
    line.idle()
    assert not line.ended, "its begin was the parent's"
    line.busy()
    line.idle()
    assert len(line.ended) == 1


def test_outside_it_is_seen_as_one_that_waits(watch: Watch, tmp_path: Path) -> None:
    line = watch.line("asyncio")
    assert line is not None
    line.busy()
    assert since_outside(tmp_path, line)
    fork(watch, line)
    board = BoardView(tmp_path / f"{getpid()}.board")
    try:
        assert [board.cells[at + R_SINCE] for at in board.rows()] == [0]
    finally:
        board.close()
