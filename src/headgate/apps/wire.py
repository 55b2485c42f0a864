"""The worker's end of a link: read as `reading` says, written straight from whichever thread has something to say.

A handler thread that hands its answer to the loop would pay a wake-up and two thread switches per request.
Here it writes itself; what other threads add meanwhile goes out in the same system call, and only what the
socket does not take at once is left to the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from headgate.apps.pace import Pace
from headgate.apps.pool import HandlerPool
from headgate.apps.reading import Reader
from headgate.base.errors import ProtocolError, Unavailable
from headgate.link.session import Session

log = logging.getLogger("headgate.app")

_AT_ONCE: Final = 64
"""Frames that are joined into one write at most."""


class Wire:
    """One link connection of this worker, on the running loop.

    Args:
        sock: connected, non-blocking.
        session: the worker's session.
        on_message: called with every message that comes, one at a time (see `Reader` for the thread).
        on_closed: called once on the loop when the link is gone, with the reason, or None at an orderly end.
        pool, pace: where handlers run, if they run on threads; see `Reader`.
    """

    def __init__(
        self,
        sock: socket.socket,
        session: Session[Any, Any],
        on_message: Callable[[Wire, Any], None],
        on_closed: Callable[[Wire, BaseException | None], None],
        pool: HandlerPool | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = sock
        self._session = session
        self._on_message = on_message
        self._on_closed = on_closed
        self._out: deque[bytes] = deque()
        self._writing = threading.Lock()
        self._blocked = False  # the socket is full, and the loop goes on when it is not
        self.closed = False
        self._reader = Reader(sock, self._take, self.close, pool, pace, self._write)
        self.submit = self._reader.submit
        self.waits = self._reader.step_down

    def send(self, message: Any) -> None:
        """Send a message, from any thread. Nothing happens once the link is closed."""
        if self.closed:
            return
        self._out.append(self._session.encode(message))
        if not self._blocked and not self._reader.defers():
            self._write()

    @property
    def waiting(self) -> bool:
        """Whether messages wait for the gateway to read."""
        return bool(self._out) and not self.closed

    @property
    def backlog(self) -> int:
        """Frames that the gateway has not read yet, as far as they are kept here."""
        return len(self._out)

    def close(self, reason: BaseException | None = None) -> None:
        """End the link (on the loop); what the socket has not taken is dropped."""
        if self.closed:
            return
        self.closed = True
        with self._writing:
            self._reader.close()
            self._loop.remove_writer(self._socket.fileno())
            with contextlib.suppress(OSError):  # the other end may have gone first
                self._socket.shutdown(socket.SHUT_RDWR)  # a thread that reads it is woken
            self._socket.close()
            self._out.clear()
        self._on_closed(self, reason)

    def _write(self) -> None:
        """Write until nothing is left, unless another thread is at it: that one then writes ours too."""
        out = self._out
        while out and self._writing.acquire(blocking=False):
            try:
                if self.closed or self._blocked:
                    return
                self._write_some()
            except OSError as exc:
                self._loop.call_soon_threadsafe(self.close, exc)
                return
            finally:
                self._writing.release()

    def _write_some(self) -> None:
        out = self._out
        data = out.popleft()
        if out:
            data = b"".join([data, *(out.popleft() for _ in range(min(len(out), _AT_ONCE)))])
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            out.appendleft(data[sent:])
            self._blocked = True
            self._loop.call_soon_threadsafe(self._wait_writable)

    def _wait_writable(self) -> None:
        if not self.closed:
            self._loop.add_writer(self._socket.fileno(), self._writable)

    def _writable(self) -> None:
        self._loop.remove_writer(self._socket.fileno())
        with self._writing:  # a thread that has just seen it blocked is on its way out: what it leaves is written here
            self._blocked = False
        self._write()

    def _take(self, data: memoryview) -> None:
        try:
            for message in self._session.feed(data):
                self._on_message(self, message)
        except ProtocolError as exc:
            self._loop.call_soon_threadsafe(self.close, exc)
        except Exception as exc:  # the rest of what was read is lost with it: better no link than a deaf one
            log.exception("a message of the gateway could not be handled; the link is dialled anew")
            self._loop.call_soon_threadsafe(self.close, exc)


async def connect(
    path: str,
    session: Session[Any, Any],
    on_message: Callable[[Wire, Any], None],
    on_closed: Callable[[Wire, BaseException | None], None],
    pool: HandlerPool | None = None,
    pace: Pace | None = None,
) -> Wire:
    """Dial a gateway's link socket.

    Raises:
        Unavailable: nobody listens there now.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, path)
    except OSError as exc:
        sock.close()
        raise Unavailable(f"no gateway answers at the link socket {path}: {exc.strerror or exc}") from exc
    return Wire(sock, session, on_message, on_closed, pool, pace)
