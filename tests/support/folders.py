"""Folders of a test run with paths short enough for Unix sockets (108 bytes)."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

_made: list[Path] = []


def short_folder(name: str) -> Path:
    """A new empty folder; whoever asks for it may remove it, and at the end of the run it goes in any case.

    Args:
        name: tells in its path what it is for.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"hg-{name}-", dir="/tmp"))
    _made.append(folder)
    return folder


def remove_all() -> None:
    """The run has ended, and with it what was started."""
    while _made:
        shutil.rmtree(_made.pop(), ignore_errors=True)
