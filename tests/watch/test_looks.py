"""How seldom the watchdog may look without missing anything, and what it makes of accounts that it read seldom."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from headgate.watch.accounts import used
from headgate.watch.board import Board
from headgate.watch.line import Line, PingedLine
from headgate.watch.machine import Reading, Thread
from headgate.watch.native import MS, SECOND
from headgate.watch.stall import OpenStall
from headgate.watch.watchdog import Rules

RULES = Rules()
START = 1_000_000 * MS


@pytest.fixture
def board() -> Board:
    return Board(None, "looks", RULES.tick)


def line(board: Board) -> Line:
    return Line(board, "asyncio", "loop", RULES.limit)


def pinged(board: Board) -> Line:
    return PingedLine(board, "gevent", "hub", RULES.limit, lambda: None)


@pytest.mark.parametrize("make", [line, pinged])
@pytest.mark.parametrize("offset", range(0, 75, 5))
def test_whenever_a_stall_begins_it_is_looked_at_in_its_second_half(
    board: Board, make: Callable[[Board], Line], offset: int
) -> None:
    seen, now = make(board), START
    begin = START + offset * MS
    ages = []
    while now < begin + RULES.limit:
        seen.stamps[seen.at] = begin / SECOND if begin <= now else 0.0
        now += min(RULES.rest, seen.pause(now, RULES.tick))
        ages.append(now - begin)
    assert any(RULES.limit // 2 <= age <= RULES.limit - RULES.tick for age in ages), "one tick late is early enough"


def test_a_stall_is_sampled_at_every_tick_and_a_begin_without_a_stamp_is_known_to_20_ms(board: Board) -> None:
    blocked, asked = line(board), pinged(board)
    assert blocked.pause(START, RULES.tick) == RULES.rest == 75 * MS
    assert asked.pause(START, RULES.tick) // 2 == 20 * MS
    blocked.stamps[blocked.at] = START / SECOND
    blocked.open = OpenStall(blocked, START)
    assert blocked.pause(START + RULES.limit, RULES.tick) == RULES.tick
    assert Rules(rests=False).rest == RULES.tick


def test_a_line_rests_only_while_it_waits_and_its_thread_has_not_run(board: Board) -> None:
    turn, turned, over = threading.Event(), threading.Event(), threading.Event()
    made: list[Line] = []

    def loop() -> None:
        made.append(line(board))
        turned.set()
        turn.wait(30)
        turned.set()
        over.wait(30)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        assert turned.wait(30)
        (parked,) = made
        wait_until_asleep(parked.thread)
        assert not parked.rests(START), "it has not been looked at yet"
        parked.last = parked.thread.read(START)
        assert parked.rests(START + MS)
        assert parked.last.at == START + MS
        parked.stamps[parked.at] = START / SECOND
        assert not parked.rests(START + MS), "it is busy, though its thread sleeps"
        parked.stamps[parked.at] = 0.0
        turned.clear()
        turn.set()
        assert turned.wait(30)
        assert not parked.rests(START + 2 * MS), "it has run"
    finally:
        turn.set()
        over.set()
        thread.join()


def wait_until_asleep(thread: Thread) -> None:
    """Until its CPU clock stands still."""
    before = -1
    while before != (before := thread.cpu()):
        threading.Event().wait(0.02)


@pytest.mark.parametrize(
    ("what", "readings", "after", "cpu"),
    [
        ("computed, read at its begin", [(0, 0)], 100, 100),
        ("computed, read 10 ms inside", [(10, 0)], 90, 95),
        ("slept, after 60 ms of work before it", [(-75, 0), (20, 60)], 60, 10),
        ("computed, after 60 ms of work before it", [(-75, 0), (20, 80)], 160, 92),
        ("slept, parked before", [(-75, 0)], 0, 0),
        ("never read but at its end", [(100, 500)], 500, None),
        ("not read at all", [], 500, None),
    ],
)
def test_what_it_used_is_told_from_readings_near_it(
    what: str, readings: list[tuple[int, int]], after: int, cpu: int | None
) -> None:
    given = [Reading(START + at * MS, spent * MS, 0) for at, spent in readings]
    found = used(START, START + 100 * MS, given, Reading(START + 110 * MS, after * MS, 0))
    assert (None if found is None else found[0] // MS) == cpu, what
