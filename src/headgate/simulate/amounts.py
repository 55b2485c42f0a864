"""Amounts as people write them: `250ms`, `1m30s`, `5%`, `0.2/user`, `50/s`, `30s:500`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from headgate.simulate.errors import BadInput

_UNITS: Final = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_PIECE: Final = re.compile(r"(\d+(?:\.\d+)?)(us|µs|ms|min|s|m|h)")
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?")
LONGEST_RUN: Final = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Rate:
    """Clicks per second, of each user (`per_user`) or of all users together."""

    value: float
    per_user: bool

    def each(self, users: float) -> float:
        """Clicks per second of one of `users` users."""
        return self.value if self.per_user else self.value / max(users, 1.0)

    def __str__(self) -> str:
        return f"{self.value:g}/{'user' if self.per_user else 's'}"


def parse_duration(text: str, what: str = "duration") -> float:
    """Seconds of `90`, `90s`, `1m30s`, `250ms`.

    Raises:
        BadInput: it is not a duration, or longer than a week.
    """
    text = text.strip()
    if _NUMBER.fullmatch(text):
        seconds = float(text)
    else:
        seconds, at = 0.0, 0
        for match in _PIECE.finditer(text):
            if match.start() != at:
                break
            seconds += float(match[1]) * _UNITS[match[2]]
            at = match.end()
        if not text or at != len(text):
            raise BadInput(f"{what} {text!r} is not a time; write it like 250ms, 30s, 2m or 1h30m")
    if seconds > LONGEST_RUN:
        raise BadInput(f"{what} {text!r} is longer than a week; that is surely a slip of the pen")
    return seconds


def parse_share(text: str, what: str = "share") -> float:
    """A share between 0 and 1 of `5%` or `0.05`.

    Raises:
        BadInput: it is not a share, or outside 0–100 %.
    """
    text = text.strip()
    percent = text.endswith("%")
    digits = text.removesuffix("%").strip()
    if not _NUMBER.fullmatch(digits):
        raise BadInput(f"{what} {text!r} is not a share; write it like 5% or 0.05")
    value = float(digits) / (100.0 if percent else 1.0)
    if not 0.0 <= value <= 1.0:
        raise BadInput(f"{what} {text!r} lies outside 0% to 100%")
    return value


def parse_rate(text: str) -> Rate:
    """A click rate: `0.2/user` (per second and user), `50/s` or `3000/min` (all users together).

    Raises:
        BadInput: it is not a rate.
    """
    number, slash, unit = text.strip().partition("/")
    unit = unit.strip()
    if not _NUMBER.fullmatch(number.strip()) or not slash:
        raise BadInput(
            f"rate {text!r} is not understood; write 0.2/user (clicks a second of each user)"
            " or 50/s (of all users together)"
        )
    value = float(number)
    if unit == "user":
        return Rate(value, per_user=True)
    if unit in _UNITS:
        return Rate(value / _UNITS[unit], per_user=False)
    if unit.startswith("user/") and unit[5:] in _UNITS:
        return Rate(value / _UNITS[unit[5:]], per_user=True)
    raise BadInput(f"rate {text!r} has the unknown unit {unit!r}; use /user, /user/min, /s or /min")


def show_seconds(seconds: float) -> str:
    """A time for people: `850 µs`, `12.3 ms`, `4.56 s`, `∞`."""
    if seconds == float("inf"):
        return "∞"
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1.0:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 120.0:
        return f"{seconds:.3g} s"
    return f"{seconds / 60.0:.1f} min"
