"""Cron expressions: the five fields of crontab(5), in a time zone, and the moments that they name.

Where clocks are put forward, a fixed time that is skipped happens at the first moment after the gap; where they are
put back, it happens once. What runs every hour runs in every hour that there is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from headgate.base.errors import ConfigError
from headgate.base.model import Cron, JobSpec, Missed, new_id

LATE: Final = 60.0
"""Seconds after which a moment counts as missed."""
MOST: Final = 1_000
"""Moments of one cron that are made up for at most."""

_MONTHS: Final = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS: Final = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_SHORTHANDS: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
_FIELDS: Final[tuple[tuple[str, int, int, list[str]], ...]] = (
    ("minute", 0, 59, []),
    ("hour", 0, 23, []),
    ("day of month", 1, 31, []),
    ("month", 1, 12, ["", *_MONTHS]),
    ("day of week", 0, 7, _DAYS),
)
_ITEM: Final = re.compile(r"(\*|\w+)(?:-(\w+))?(?:/(\d+))?")
_MINUTE: Final = timedelta(minutes=1)
_YEARS: Final = 8
"""How far ahead a moment is looked for: 29 February can be eight years away (1896 to 1904, 2096 to 2104)."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A parsed expression; make it by `parse`."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    """Day of month and day of week are both restricted: crontab(5) says that one of them is enough."""
    every_hour: bool
    zone: tzinfo

    def after(self, moment: float) -> float:
        """The first moment of the schedule after another one, both in seconds since the epoch.

        Raises:
            ConfigError: there is none within eight years (31 February).
        """
        at = datetime.fromtimestamp(moment // 60 * 60, UTC) + _MINUTE
        last = at + timedelta(days=366 * _YEARS)
        while at < last:
            local = at.astimezone(self.zone)
            if self._hits(local) or self._skipped(at, local):
                return at.timestamp()
            at += self._step(local)
        raise ConfigError("the cron expression names no moment that ever comes")

    def _hits(self, local: datetime) -> bool:
        if local.minute not in self.minutes or local.hour not in self.hours or not self._day(local):
            return False
        return self.every_hour or local.fold == 0

    def _day(self, local: datetime) -> bool:
        if local.month not in self.months:
            return False
        in_month, in_week = local.day in self.days, local.isoweekday() % 7 in self.weekdays
        return (in_month or in_week) if self.either_day else (in_month and in_week)

    def _skipped(self, at: datetime, local: datetime) -> bool:
        """Whether the clocks were just put forward over a moment of the schedule."""
        before = (at - _MINUTE).astimezone(self.zone)
        gap = (local.replace(tzinfo=None) - before.replace(tzinfo=None)) // _MINUTE
        if gap <= 1 or self.every_hour:
            return False
        naive = before.replace(tzinfo=None)
        return any(self._hits(naive + n * _MINUTE) for n in range(1, gap))

    def _step(self, local: datetime) -> timedelta:
        # Not beyond the next full hour, at which clocks change.
        if local.hour not in self.hours or not self._day(local):
            return (60 - local.minute) * _MINUTE
        return _MINUTE


def parse(expression: str, zone: str = "UTC") -> Schedule:
    """Read an expression such as `*/5 8-18 * * mon-fri`, or `@daily`.

    Raises:
        ConfigError: says which field is wrong and what it may hold.
    """
    try:
        where: tzinfo = UTC if zone == "UTC" else ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError) as exc:
        raise ConfigError(f"there is no time zone {zone!r}; write its IANA name, as in Europe/Berlin") from exc
    parts = _SHORTHANDS.get(expression.strip().lower(), expression).split()
    if len(parts) != len(_FIELDS):
        raise ConfigError(
            f"the cron expression {expression!r} has {len(parts)} fields; it needs five: "
            "minute, hour, day of month, month, day of week"
        )
    minutes, hours, days, months, weekdays = (_field(text, *field) for text, field in zip(parts, _FIELDS, strict=True))
    either = not parts[2].startswith("*") and not parts[4].startswith("*")
    return Schedule(
        minutes, hours, days, months, frozenset(day % 7 for day in weekdays), either, len(hours) == 24, where
    )


def _field(text: str, name: str, least: int, most: int, names: list[str]) -> frozenset[int]:
    values: set[int] = set()
    for item in text.lower().split(","):
        match = _ITEM.fullmatch(item)
        if match is None:
            raise ConfigError(f"{item!r} is no {name}; write a number from {least} to {most}, a range, or */step")
        first, last, step = match.groups()
        low = least if first == "*" else _number(first, name, least, most, names)
        high = _number(last, name, least, most, names) if last else (most if first == "*" or step else low)
        if high < low or (step and int(step) == 0):
            raise ConfigError(f"{item!r} as {name} names nothing")
        values.update(range(low, high + 1, int(step or 1)))
    return frozenset(values)


def _number(text: str, name: str, least: int, most: int, names: list[str]) -> int:
    value = names.index(text) if text in names and text else int(text) if text.isdigit() else -1
    if not least <= value <= most:
        raise ConfigError(f"{text!r} is no {name}; it goes from {least} to {most}")
    return value


def due(one: Cron, first: float, now: float) -> tuple[list[float], float]:
    """The moments from `first` to now, and the one after."""
    schedule = parse(one.expression, one.zone)
    moments, at = [first], schedule.after(first)
    while at <= now:
        moments.append(at)
        if len(moments) > MOST:
            at = schedule.after(now)
            break
        at = schedule.after(at)
    return moments, at


def wanted(one: Cron, moments: Sequence[float], now: float) -> Sequence[float]:
    """Of the moments that have come those for which a job is put."""
    if one.missed is Missed.ALL:
        return moments
    if one.missed is Missed.ONCE:
        return moments[-1:]
    return [moment for moment in moments[-1:] if now - moment <= LATE]


def run_of(one: Cron, moment: float, now: float) -> JobSpec:
    """The job for one moment; the same for whoever makes it, by its idempotency key."""
    # The template's own times are those of its declaration.
    shift = now - one.job.created_at
    return msgspec.structs.replace(
        one.job,
        id=new_id(),
        created_at=now,
        idempotency_key=f"cron:{one.name}:{int(moment)}",
        not_before=None if one.job.not_before is None else one.job.not_before + shift,
        deadline=None if one.job.deadline is None else one.job.deadline + shift,
    )
