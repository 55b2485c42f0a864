"""A process that is read from outside: what its readings say of its loops."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.watch.attach import Attached, loop_of
from headgate.watch.native import MS
from headgate.watch.outside_samples import Seen
from headgate.watch.pyspy import CannotSee
from headgate.watch.stacks import Frame, Stack
from headgate.watch.wording import line

SITE = "/srv/venv/lib/python3.11/site-packages"
LIB = "/usr/lib/python3.11"
SERVER = (Frame(f"{SITE}/uvicorn/server.py", 67, "Server.run"), Frame(f"{SITE}/uvicorn/main.py", 580, "run"))
RUN_ONCE = Frame(f"{LIB}/asyncio/base_events.py", 1922, "BaseEventLoop._run_once")
FOREVER = (RUN_ONCE, Frame(f"{LIB}/asyncio/base_events.py", 607, "BaseEventLoop.run_forever"), *SERVER)
IDLE = (Frame(f"{LIB}/selectors.py", 468, "EpollSelector.select"), *FOREVER)
BUSY = (Frame("/srv/orders.py", 41, "pay"), *FOREVER)
GONE = 2**22 + 1
"""A number above all that a system gives to processes."""


def attached(*readings: Stack) -> Attached:
    """One whose process ends after these readings, 100 ms apart."""
    left: Iterator[tuple[int, Stack]] = iter(enumerate(readings))

    def look(_pid: int) -> Seen:
        try:
            number, stack = next(left)
        except StopIteration:
            raise CannotSee("broken", "no such process") from None
        return Seen(number * 100 * MS, number * 100 * MS, 0, {7: stack} if stack else {})

    return Attached(GONE, 0.2, look)


def test_a_stall_that_lasts_when_the_process_ends_is_told_as_one_that_has_not_ended() -> None:
    (incident,) = attached(IDLE, *[BUSY] * 5).incidents(30, pause=0)
    assert (incident.unfinished, incident.kind, incident.function) == (True, "asyncio", "pay")
    assert "blocks the asyncio loop for 450 ms" in line(incident)


def test_a_stall_that_lasts_when_the_time_is_over_is_told_once() -> None:
    process = attached()
    for number, stack in enumerate([IDLE, BUSY, BUSY, BUSY, BUSY]):
        assert not list(process.take(Seen(number * 100 * MS, number * 100 * MS, 0, {7: stack})))
    assert [each.unfinished for each in process.incidents(0)] == [True]
    assert list(process.unfinished()) == []


@pytest.mark.parametrize("after", [IDLE, ()])
def test_one_that_ends_is_told_as_ended_also_with_its_thread(after: Stack) -> None:
    (incident,) = attached(IDLE, *[BUSY] * 5, after, after).incidents(30, pause=0)
    assert not incident.unfinished


def test_a_short_stretch_is_nobodys_stall() -> None:
    assert list(attached(IDLE, BUSY).incidents(30, pause=0)) == []


def test_a_process_that_cannot_be_read_at_all_is_an_error() -> None:
    with pytest.raises(CannotSee):
        list(attached().incidents(30))


def test_uvicorn_runs_asyncios_own_loop_where_that_is_on_the_stack() -> None:
    assert loop_of(BUSY) == "asyncio"
    assert loop_of((Frame("/srv/orders.py", 41, "pay"), *SERVER)) == "uvloop"
    (incident,) = attached((Frame(str(Path("/srv/app.py")), 1, "<module>"), *SERVER), IDLE, *[BUSY] * 5).incidents(
        30, pause=0
    )
    assert incident.kind == "asyncio", "what it was before its loop ran does not count"
