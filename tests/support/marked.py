"""Finding every process that a server has started, orphans included, by a mark in its environment."""

from __future__ import annotations

import uuid
from pathlib import Path

MARK = "TEST_RUN_MARK"


def new_mark() -> dict[str, str]:
    """An environment entry that all descendants inherit and no other process has."""
    return {MARK: uuid.uuid4().hex}


def bearers(mark: dict[str, str]) -> dict[int, str]:
    """`{pid: command line}` of the live processes that carry the mark (zombies have no environment)."""
    wanted = f"{MARK}={mark[MARK]}".encode()
    found: dict[int, str] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:
            continue  # it ended while we looked, or belongs to someone else
    return found
