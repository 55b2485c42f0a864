"""The transport of one response, and what one connection's client has taken of all of them."""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import termios


class Sent:
    """What was written to one connection, and whether its client takes it.

    A response that waits for a client holds an app worker's thread once its window is used up: one that takes
    nothing for too long has to be given up.
    """

    __slots__ = ("_since", "_taken", "bytes")

    def __init__(self) -> None:
        self.bytes = 0
        """All that was handed to the transport."""
        self._taken = -1
        self._since = 0.0

    def stalled(self, unsent: int, now: float) -> float:
        """Seconds for which the client has taken nothing of what is there for it.

        Args:
            unsent: bytes that lie in the transport and in the kernel; 0 if none lie in the transport.
            now: of the same clock at each call.
        """
        if not unsent:
            self._taken = -1
            return 0.0
        taken = self.bytes - unsent
        if taken != self._taken:
            self._taken, self._since = taken, now
        return now - self._since


def in_kernel(transport: asyncio.Transport) -> int:
    """Bytes that the kernel has of us and the client's has not taken yet; 0 where that cannot be known.

    The kernel's own buffer holds megabytes and reports room in large steps: without this, a client that is merely slow
    would seem to take nothing for minutes.
    """
    sock = transport.get_extra_info("socket")
    held = array.array("i", [0])
    with contextlib.suppress(OSError, AttributeError):
        fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, held)
    return held[0]


class Cork:
    """A transport for one response, whose head can be held back to go out with the body in one system call."""

    __slots__ = ("_first", "_held", "_sent", "_transport")

    def __init__(self, transport: asyncio.Transport, sent: Sent) -> None:
        self._transport = transport
        self._sent = sent
        self._held = False
        self._first: bytes | None = None

    def hold(self) -> None:
        """Keep what is written next until what is written after it, which must follow at once."""
        self._held = True

    def write(self, data: bytes) -> None:
        self._sent.bytes += len(data)
        if self._held:
            self._held, self._first = False, data
        elif self._first is not None:
            first, self._first = self._first, None
            self._transport.write(first + data)
        else:
            self._transport.write(data)

    def close(self) -> None:
        if self._first is not None:
            first, self._first = self._first, None
            self._transport.write(first)
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()
