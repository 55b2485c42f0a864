"""A value with the place where it was found."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from headgate.readers.place import Place


@dataclass(frozen=True)
class Value:
    """A setting as written."""

    text: str
    place: Place

    @property
    def number(self) -> int | None:
        """As a whole number; None where it is none."""
        return int(self.text) if re.fullmatch(r"-?\d+", self.text.strip()) else None

    @property
    def on(self) -> bool:
        """As a switch."""
        return self.text.strip().lower() in ("1", "true", "yes", "on", "")

    @property
    def seconds(self) -> float | None:
        """As a length of time of systemd or nginx (`90`, `1min 30s`, `infinity`); None where it is none."""
        return seconds(self.text)


_UNITS: Final = {
    "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "": 1.0,
    "m": 60.0, "min": 60.0, "minute": 60.0, "minutes": 60.0,
    "h": 3600.0, "hr": 3600.0, "hour": 3600.0, "hours": 3600.0, "d": 86400.0, "day": 86400.0, "days": 86400.0,
}  # fmt: skip
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")


def seconds(text: str) -> float | None:
    """A length of time as systemd (systemd.time(7)) and nginx write it, in seconds."""
    text = text.strip().lower()
    if text == "infinity":
        return float("inf")
    parts = _PART.findall(text)
    if not parts or _PART.sub("", text).strip() or any(unit not in _UNITS for _, unit in parts):
        return None
    return float(sum(float(amount) * _UNITS[unit] for amount, unit in parts))
