"""Where the watch of services that are not Headgate's own keeps its boards and journals."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from pathlib import Path
from typing import Final

from headgate.base.errors import ConfigError
from headgate.watch.board import SUFFIX
from headgate.watch.journal import NAME

KEPT: Final = 20
"""Folders of earlier runs that are kept."""


def base() -> Path:
    """The folder of all runs of this user, made if it is missing.

    Raises:
        ConfigError: somebody else made it.
    """
    uid = os.getuid() if hasattr(os, "getuid") else 0
    path = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"headgate-watch-{uid}"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = path.lstat()
    if not stat.S_ISDIR(facts.st_mode) or (hasattr(os, "getuid") and facts.st_uid != uid):
        raise ConfigError(f"{path} belongs to somebody else; name another folder with --folder")
    return path


def for_run(program: str) -> Path:
    """A new folder for a run of a program; the oldest of many are removed."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", os.path.basename(program))[:40] or "run"
    folder = base() / f"{name}-{os.getpid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for old in runs()[KEPT:]:
        _remove(old)
    return folder


def runs() -> list[Path]:
    """The folders of this user's runs, the newest first."""
    found = [entry for entry in base().iterdir() if entry.is_dir()]
    return sorted(found, key=lambda entry: -entry.stat().st_mtime)


def is_watched(folder: Path) -> bool:
    """Whether a folder is one of the watch's."""
    return (folder / NAME).exists() or any(folder.glob(f"*{SUFFIX}"))


def _remove(folder: Path) -> None:
    """Only files that the watch makes; a folder with anything else in it stays."""
    for path in [*folder.glob("*"), *folder.glob("carried/*")]:
        if path.is_symlink() or path.is_file():
            path.unlink(missing_ok=True)
    for path in (folder / "carried" / "__pycache__", folder / "carried", folder):
        try:
            for each in path.glob("*.pyc"):
                each.unlink(missing_ok=True)
            path.rmdir()
        except OSError:
            continue
