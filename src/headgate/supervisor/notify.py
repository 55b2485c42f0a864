"""The service manager's notices (sd_notify(3)): ready, reloading, stopping, still alive."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping


class Notifier:
    """Speaks to systemd when it listens, to nobody otherwise.

    Takes its variables out of the environment: what a child said would be taken for the supervisor's word.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        interval, owner = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address else None
        wanted = interval.isdigit() and owner in ("", str(os.getpid()))
        self.watchdog = int(interval) / 1e6 / 2 if wanted else None
        """Seconds between two signs of life; None when none is wanted."""
        self._due = 0.0

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nMAINPID={os.getpid()}\nSTATUS={status}")

    def reloading(self) -> None:
        """The time lets systemd tell this reload from one before it (Type=notify-reload)."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=A new generation is starting")

    def stopping(self) -> None:
        self._send("STOPPING=1\nSTATUS=Finishing what is under way")

    def alive(self, now: float) -> None:
        """Pet the watchdog when it is time; called in every turn of the loop."""
        if self.watchdog is not None and now >= self._due:
            self._due = now + self.watchdog
            self._send("WATCHDOG=1")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def _send(self, text: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # the manager restarts too; its absence must not stop a server
                self._socket.sendto(text.encode(), socket.MSG_DONTWAIT, self._address)
