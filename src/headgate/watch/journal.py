"""The journal: incidents as JSON lines in one file, which all processes of a folder append to."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from headgate.watch.model import Incident
from headgate.watch.native import close_file, open_file, write

NAME: Final = "incidents.jsonl"
OLDER: Final = "incidents.1.jsonl"
LARGEST: Final = 16 << 20
"""Bytes after which a new file is begun; one older one is kept."""


class Journal:
    """Appends incidents; never raises, since a full disk must not disturb the service.

    Args:
        folder: where the file is.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self.lost = 0
        """Incidents that could not be written."""

    def add(self, incident: Incident) -> None:
        """Append one, in a single write, so that processes do not mix their lines."""
        data = (incident.to_json() + "\n").encode("utf-8", "replace")
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        try:
            descriptor = open_file(self._path, flags, 0o600)
            try:
                if os.fstat(descriptor).st_size > LARGEST:
                    os.replace(self._path, self._path.with_name(OLDER))
                write(descriptor, data)
            finally:
                close_file(descriptor)
        except OSError:
            self.lost += 1


def read(folder: Path, since: float = 0.0) -> Iterator[Incident]:
    """The incidents of a folder that ended after `since` (seconds since the epoch), oldest first.

    Lines that are no incidents, such as one that is being written, are left out.
    """
    for name in (OLDER, NAME):
        with contextlib.suppress(OSError), (folder / name).open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                with contextlib.suppress(ValueError):
                    incident = Incident.from_json(line)
                    if incident.at >= since:
                        yield incident
