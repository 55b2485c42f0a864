"""Takes possession of a data folder: makes what is missing, and holds its lock while the supervisor lives."""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path
from typing import IO

from headgate.base.errors import ConfigError
from headgate.config.address import check_length
from headgate.config.folder import DataFolder
from headgate.config.settings import Settings


class Possession:
    """A data folder held by this process; `close` gives it up. Nothing is removed but what a start makes anew."""

    def __init__(self, folder: DataFolder, lock: IO[str]) -> None:
        self.folder = folder
        self._lock = lock

    def close(self) -> None:
        self.folder.pid.unlink(missing_ok=True)
        self.folder.control.unlink(missing_ok=True)
        self._lock.close()


def take(settings: Settings) -> Possession:
    """Make the data folder ready and lock it.

    Raises:
        ConfigError: it cannot be written, another Headgate has it, or its path is too long for sockets.
    """
    folder = settings.folder
    longest = folder.link(max(0, settings.gateways - 1))
    check_length(longest, "give a data folder with a shorter path with --data, /run/NAME for example")
    try:
        folder.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _lock(folder)
        for inner in (folder.run, folder.spool):
            inner.mkdir(exist_ok=True)
            inner.chmod(0o700)
        folder.pid.write_text(f"{os.getpid()}\n")
        _keep_out_of_git(folder.root)
    except (FileExistsError, NotADirectoryError) as exc:
        raise ConfigError(
            f"The data folder {folder.root} cannot be made: {exc.filename} is a file. Name a folder with --data."
        ) from None
    except OSError as exc:
        raise ConfigError(
            f"The data folder {folder.root} cannot be used: {exc.strerror or exc} ({exc.filename}). "
            "Give one that you may write to with --data."
        ) from None
    return Possession(folder, lock)


def _keep_out_of_git(root: Path) -> None:
    """The folder often lies within a repository, and holds a secret."""
    ignore = root / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")


def _lock(folder: DataFolder) -> IO[str]:
    lock = open(folder.lock, "a+", encoding="ascii")  # noqa: SIM115 - held for the life of the process
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip()
        lock.close()
        raise ConfigError(
            f"Another Headgate{f' (pid {holder})' if holder else ''} runs on the data folder {folder.root}. "
            "Stop it with `headgate stop`, or give this one a folder of its own with --data."
        ) from None
    lock.seek(0)
    lock.truncate()
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def secret(settings: Settings) -> str:
    """The signing secret: the setting, or what the data folder holds, made at the first start.

    Raises:
        ConfigError: the file is there and empty or unreadable.
    """
    if settings.secret:
        return settings.secret
    path = settings.folder.secret
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _read_secret(path)
    made = secrets.token_hex(32)
    with os.fdopen(descriptor, "w") as file:
        file.write(made + "\n")
        file.flush()
        os.fsync(file.fileno())
    return made


def _read_secret(path: Path) -> str:
    try:
        found = path.read_text().strip()
    except FileNotFoundError:
        raise ConfigError(
            f"The secret in {path} is a link to {path.resolve()}, and that file is not there yet. Start the service "
            "that makes it (the web service, once), then this one again."
        ) from None
    except OSError as exc:
        raise ConfigError(f"The secret in {path} cannot be read: {exc.strerror}.") from None
    if len(found) < 32:
        raise ConfigError(
            f"The secret in {path} is too short to sign with ({len(found)} characters). "
            "Remove the file, and the next start makes a new one; addresses signed before are then void."
        )
    return found
