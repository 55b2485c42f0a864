"""Where the watch of services that are not Headgate's own keeps its boards and journals."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from headgate.base.errors import ConfigError
from headgate.watch.board import SUFFIX
from headgate.watch.journal import NAME
from headgate.watch.metrics import boards

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
    """A new folder for a run of a program; the oldest of many are removed, but none whose run goes on."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", os.path.basename(program))[:40] or "run"
    folder = _new(base() / f"{name}-{os.getpid()}")
    for old in runs()[KEPT:]:
        if not goes_on(old):
            _remove(old)
    return folder


def _new(wanted: Path) -> Path:
    """The wanted folder, or one of a like name: a process's number comes again, in a container always."""
    names = itertools.chain([wanted.name], (f"{wanted.name}.{number}" for number in itertools.count(2)))
    while True:
        with contextlib.suppress(FileExistsError):
            folder = wanted.with_name(next(names))
            folder.mkdir(mode=0o700)
            return folder


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Meanwhile a run goes on in this folder, as every other process can see (flock(2)), also out of a container."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def goes_on(folder: Path) -> bool:
    """Whether a run goes on in a folder: somebody observes it, or one of its processes lives."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    finally:
        os.close(descriptor)
    return any(True for _ in boards(folder))


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
