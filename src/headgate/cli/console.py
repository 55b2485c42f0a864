"""How the commands look: the consoles, amounts and times in words, and errors."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.console import Console

_PIPED: Final = 160
"""Columns where there is no terminal: a table that is read by a program must not be cut at 80."""


@functools.cache
def out() -> Console:
    """The console of results."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else _PIPED)


@functools.cache
def err() -> Console:
    """The console of errors and remarks."""
    from rich.console import Console

    return Console(highlight=False, stderr=True, width=None if sys.stderr.isatty() else _PIPED)


def complain(message: str, detail: str = "") -> None:
    """An error: the detail (a traceback) first, and the message last, where the eye is."""
    from rich.text import Text

    sys.stdout.flush()
    if detail:
        err().print(Text(detail, style="dim"), soft_wrap=True)
    err().print(Text.assemble(("headgate: ", "bold red"), message), soft_wrap=True)


def ago(seconds: float | None) -> str:
    """A length of time, short: `4.2 s`, `3 min`, `5 h`, `12 d`."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for limit, scale, name in ((10, 1, "s"), (120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / scale:.1f} {name}" if limit == 10 else f"{seconds / scale:.0f} {name}"
    return f"{seconds / 86_400:.0f} d"


def place(path: str | Path, most: int = 60) -> str:
    """A path as short as it can be told: from here or from home, its middle left out when it is still too long."""
    whole = Path(path).absolute()
    told = str(whole)
    for root, sign in ((Path.cwd(), "."), (Path.home(), "~")):
        if whole.is_relative_to(root):
            told = str(Path(sign) / whole.relative_to(root))
            break
    if len(told) <= most:
        return told
    return f"{told[: most // 3]}…{told[-(most - most // 3 - 1) :]}"


def size(count: float) -> str:
    """An amount of memory, short: `38 MB`."""
    for scale, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= scale:
            return f"{count / scale:.1f} {name}" if count < 10 * scale else f"{count / scale:.0f} {name}"
    return f"{count:.0f} B"
