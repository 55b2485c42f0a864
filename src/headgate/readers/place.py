"""Where something was seen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """Where something was seen: a file's line, or a measured value.

    Args:
        path: the file, or what was measured (`/proc/net/tcp`, `pid 812`).
        line: from 1; 0 where there are no lines.
        text: the line, or the value, as it was found.
    """

    path: str
    line: int = 0
    text: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else self.path
