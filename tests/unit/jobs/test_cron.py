"""Cron expressions against moments worked out by hand."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from headgate.base import cron
from headgate.base.errors import ConfigError


def following(expression: str, start: str, count: int = 3, zone: str = "UTC") -> list[str]:
    """The next moments after a local time, as local times with their offset."""
    where = ZoneInfo(zone)
    schedule = cron.parse(expression, zone)
    at = datetime.fromisoformat(start).replace(tzinfo=where).timestamp()
    found = []
    for _ in range(count):
        at = schedule.after(at)
        found.append(datetime.fromtimestamp(at, where).strftime("%m-%d %H:%M%z"))
    return found


@pytest.mark.parametrize(
    ("expression", "start", "moments"),
    [
        ("* * * * *", "2026-01-01 10:00", ["01-01 10:01", "01-01 10:02", "01-01 10:03"]),
        ("*/20 * * * *", "2026-01-01 10:59", ["01-01 11:00", "01-01 11:20", "01-01 11:40"]),
        ("5-10/5 9 * * *", "2026-01-01 09:05", ["01-01 09:10", "01-02 09:05", "01-02 09:10"]),
        ("0 9 * * mon-fri", "2026-01-02 09:00", ["01-05 09:00", "01-06 09:00", "01-07 09:00"]),
        ("0 0 * * 7", "2026-01-01 00:00", ["01-04 00:00", "01-11 00:00", "01-18 00:00"]),
        ("30 6 1,15 * *", "2026-01-01 07:00", ["01-15 06:30", "02-01 06:30", "02-15 06:30"]),
        # Both days restricted: one of them is enough.
        ("0 0 13 * fri", "2026-01-01 00:00", ["01-02 00:00", "01-09 00:00", "01-13 00:00"]),
        ("0 0 31 * *", "2026-02-01 00:00", ["03-31 00:00", "05-31 00:00", "07-31 00:00"]),
        ("0 12 29 feb *", "2026-01-01 00:00", ["02-29 12:00", "02-29 12:00", "02-29 12:00"]),
        ("@daily", "2026-01-01 10:00", ["01-02 00:00", "01-03 00:00", "01-04 00:00"]),
        ("50/5 * * * *", "2026-01-01 10:00", ["01-01 10:50", "01-01 10:55", "01-01 11:50"]),
    ],
)
def test_moments(expression: str, start: str, moments: list[str]) -> None:
    assert following(expression, start) == [f"{moment}+0000" for moment in moments]


def test_a_fixed_time_that_the_clocks_skip_happens_after_the_gap() -> None:
    # Berlin: 29 March 2026, 02:00 becomes 03:00.
    assert following("30 2 * * *", "2026-03-28 00:00", 3, "Europe/Berlin") == [
        "03-28 02:30+0100",
        "03-29 03:00+0200",
        "03-30 02:30+0200",
    ]


def test_a_fixed_time_that_comes_twice_happens_once() -> None:
    # Berlin: 25 October 2026, 03:00 becomes 02:00.
    assert following("30 2 * * *", "2026-10-24 12:00", 2, "Europe/Berlin") == ["10-25 02:30+0200", "10-26 02:30+0100"]


def test_what_runs_every_hour_runs_in_the_repeated_one_too() -> None:
    assert following("0 * * * *", "2026-10-25 01:30", 4, "Europe/Berlin") == [
        "10-25 02:00+0200",
        "10-25 02:00+0100",
        "10-25 03:00+0100",
        "10-25 04:00+0100",
    ]


def test_zones_with_odd_offsets() -> None:
    assert following("0 9 * * *", "2026-01-01 00:00", 1, "Asia/Kathmandu") == ["01-01 09:00+0545"]


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("* * * *", "4 fields"),
        ("60 * * * *", "goes from 0 to 59"),
        ("* * * * funday", "no day of week"),
        ("*/0 * * * *", "names nothing"),
        ("9-5 * * * *", "names nothing"),
        ("1;2 * * * *", "no minute"),
        ("* * 0 * *", "from 1 to 31"),
    ],
)
def test_wrong_expressions_say_what_is_wrong(expression: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        cron.parse(expression)


def test_a_wrong_zone_and_a_day_that_never_comes() -> None:
    with pytest.raises(ConfigError, match="Europe/Berlin"):
        cron.parse("* * * * *", "Berlin")
    with pytest.raises(ConfigError, match="no moment"):
        cron.parse("0 0 31 2 *").after(0.0)
