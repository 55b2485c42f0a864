"""The child's end of the channel: one daemon thread that reads and writes, so that no caller ever waits."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from headgate.base.errors import ProtocolError
from headgate.base.frames import FrameReader
from headgate.supervisor.channel import FRAME_LIMIT, Alive, Report, ToChild, ToSupervisor, decode_to_child, encode

REPORT_EVERY: Final = 1.0
"""Seconds between two reports at least."""


class Wire:
    """Sends to the supervisor and hears from it.

    Args:
        channel: the inherited end of the socket pair.
        heard: called with each message, on the wire's thread.
        lost: called when the supervisor is gone, on the wire's thread; it is expected to end the process.
    """

    def __init__(self, channel: socket.socket, heard: Callable[[ToChild], None], lost: Callable[[], None]) -> None:
        self._channel = channel
        self._heard = heard
        self._lost = lost
        self._reader = FrameReader(FRAME_LIMIT)
        self._lock = threading.Lock()
        self._out = bytearray()
        self._alive = False
        self._stats: dict[str, Any] | None = None
        self._reported = float("-inf")
        self._empty = threading.Event()
        self._empty.set()
        self._waker, self._wake = socket.socketpair()
        for end in (channel, self._waker, self._wake):
            end.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="headgate-channel", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def send(self, message: ToSupervisor) -> None:
        """Send a message that must arrive."""
        with self._lock:
            self._out += encode(message)
            self._empty.clear()
        self._nudge()

    def touch(self) -> None:
        """Send an `Alive`; many while the supervisor does not read become one."""
        self._alive = True
        self._nudge()

    def report(self, stats: dict[str, Any]) -> None:
        """Send a report; the newest wins when they come faster than once a second."""
        with self._lock:
            self._stats = stats
        self._nudge()

    def flush(self, seconds: float) -> bool:
        """Wait until all that must arrive is sent; False when that takes longer than `seconds`."""
        return self._empty.wait(seconds)

    def _nudge(self) -> None:
        with contextlib.suppress(OSError):  # a nudge is on its way already, or the channel has ended
            self._wake.send(b"\0")

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._waker, selectors.EVENT_READ)
            selector.register(self._channel, selectors.EVENT_READ)
            while True:
                try:
                    if not self._turn(selector):
                        break
                except (OSError, ProtocolError):
                    break
        for end in (self._channel, self._waker, self._wake):
            end.close()
        self._lost()

    def _turn(self, selector: selectors.BaseSelector) -> bool:
        """Write what there is, wait for something to happen, read it; False at the end of the channel."""
        self._gather()
        self._write()
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
        selector.modify(self._channel, wanted)
        for key, events in selector.select(self._patience()):
            if key.fileobj is self._waker:
                self._waker.recv(4096)
            elif events & selectors.EVENT_READ and not self._read():
                return False
        return True

    def _patience(self) -> float | None:
        """Seconds until the report that waits may go; None when none waits."""
        return None if self._stats is None else max(0.0, self._reported + REPORT_EVERY - time.monotonic())

    def _gather(self) -> None:
        """Turn a pending touch and report into frames, unless earlier ones have not left yet."""
        with self._lock:
            if self._out:
                return
            if self._alive:
                self._alive = False
                self._out += encode(Alive())
            if self._stats is not None and time.monotonic() >= self._reported + REPORT_EVERY:
                self._out += encode(Report(self._stats))
                self._stats = None
                self._reported = time.monotonic()

    def _write(self) -> None:
        with self._lock, contextlib.suppress(BlockingIOError):
            while self._out:
                del self._out[: self._channel.send(self._out)]
        if not self._out:
            self._empty.set()

    def _read(self) -> bool:
        try:
            data = self._channel.recv(65536)
        except BlockingIOError:
            return True
        for payload in self._reader.feed(data):
            self._heard(decode_to_child(payload))
        return bool(data)
