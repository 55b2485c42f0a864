"""`--reload`: watches source folders and asks for a new generation when a file changes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_ALSO: Final = (".html", ".jinja", ".jinja2", ".toml")
_QUIET_MS: Final = 50
"""Files that change within this time of each other count as one change."""


class Reloader:
    """Watches on a thread of its own and writes one byte to `readable` per burst of changes."""

    def __init__(self, folders: Sequence[str]) -> None:
        self.readable, self._writable = socket.socketpair()
        self._folders = [Path(folder) for folder in folders]
        self._changed = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="headgate-reload", daemon=True)
        self._thread.start()

    def take(self) -> str:
        """Take the bytes that told of changes; returns the name of a file that did."""
        self.readable.recv(4096)
        return self._changed

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5.0)
        self.readable.close()
        self._writable.close()

    def _watch(self) -> None:
        from watchfiles import PythonFilter, watch

        wanted = PythonFilter(extra_extensions=_ALSO)
        changes = watch(
            *self._folders, watch_filter=wanted, step=_QUIET_MS, stop_event=self._stop, raise_interrupt=False
        )
        for batch in changes:
            self._changed = Path(min(path for _, path in batch)).name
            self._writable.send(b"\0")
