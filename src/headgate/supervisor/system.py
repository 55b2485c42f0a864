"""What the kernel knows of a process (Linux); elsewhere nothing is known and nothing is claimed."""

from __future__ import annotations

import contextlib
import os
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICK: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Facts:
    """One look at a process: CPU seconds used, resident bytes, whether a signal or a debugger has stopped it."""

    cpu: float
    rss: int
    stopped: bool


def look(pid: int) -> Facts | None:
    """The facts of a process; None when it is gone or the system does not say (proc(5))."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the program's name in brackets, which may hold spaces and brackets itself.
    fields = text[text.rindex(")") + 2 :].split()
    return Facts(
        cpu=(int(fields[11]) + int(fields[12])) / _TICK,
        rss=int(fields[21]) * _PAGE,
        stopped=fields[0] in "Tt",
    )


def raise_descriptor_limit() -> int:
    """Let this process and its children open as many descriptors as the system grants; returns how many.

    Each connection is one, and shells start programs with 1024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # macOS promises an infinity that it does not grant
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
