"""Lengths of time as people write them."""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = {
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "": 1.0,
    "s": 1.0,
    "min": 60.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86_400.0,
}


def seconds_of(text: str) -> float:
    """Seconds of `100ms`, `1.5s`, `2h` or a bare number of seconds.

    Raises:
        ValueError: it is no length of time, or none above zero.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zµ]*)\s*", text)
    if found is None or found.group(2) not in _UNITS or float(found.group(1)) <= 0:
        raise ValueError(f"{text!r} is no length of time: write 100ms, 1.5s, 5min, 2h")
    return float(found.group(1)) * _UNITS[found.group(2)]
