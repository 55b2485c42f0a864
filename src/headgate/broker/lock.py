"""One broker per data folder: a lock that the kernel releases with the process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from headgate.base.errors import ConfigError


class InstanceLock:
    """Holds `<data>/broker.lock` until `release`, or until the process ends.

    Raises:
        ConfigError: another broker holds it; its pid is named.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "broker.lock"
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            holder = os.read(self._file, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise ConfigError(
                f"another broker (pid {holder}) serves the data folder {folder}; "
                "stop it first, or give this instance a folder of its own with --data"
            ) from exc
        os.truncate(self._file, 0)
        os.pwrite(self._file, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        os.close(self._file)
