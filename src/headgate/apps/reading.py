"""The read half of a link: by the loop, or, under load, by a handler thread that runs quick handlers as they come.

Reading on the loop and running on a thread takes two hand-overs of the interpreter per request. Under load a
handler thread therefore takes the reading over ("leads"): what it reads it runs itself if the handler is quick,
and gives to the other threads if not. The loop looks on: a leader that is caught in a handler for longer than
`STUCK` loses its place, and what it had before it goes to the other threads. So a handler that was quick a
thousand times and then blocks holds up the others no longer than that.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from headgate.apps.pace import Pace
from headgate.apps.pool import HandlerPool, Work

READ: Final = 256 * 1024
STUCK: Final = 0.005
"""Seconds in one handler after which a leader is replaced."""
LOAD: Final = 0.005
"""Seconds between two reads; under it the link counts as loaded, and a thread begins to lead."""
DEFER: Final = 0.0005
"""Seconds for which a leader's answers may wait for those of the next handlers."""
PATIENCE: Final = 0.02
"""Seconds without anything to read after which a leader gives the reading back."""


class Reader:
    """Reads a link's socket.

    Args:
        sock: connected, non-blocking.
        take: gets the bytes that came, which it may not keep; on the loop or on a leader, never on two at once.
        lost: called on the loop when the other end is gone, with the error if there was one.
        pool: the handler threads; None to read on the loop always.
        pace: knows the quick handlers.
        flush: sends what was kept back while `defers` was true; from any thread.
    """

    def __init__(
        self,
        sock: socket.socket,
        take: Callable[[memoryview], None],
        lost: Callable[[BaseException | None], None],
        pool: HandlerPool | None = None,
        pace: Pace | None = None,
        flush: Callable[[], None] = lambda: None,
    ) -> None:
        self._flush = flush
        self._loop = asyncio.get_running_loop()
        self._socket = sock
        self._take = take
        self._lost = lost
        self._pool = pool
        self._pace = pace or Pace()
        self._lock = threading.Lock()
        self._leader: object | None = None
        self._busy_since = 0.0
        self._mine: deque[Work] = deque()
        self._last_read = 0.0
        self._deferring = 0  # the leader's thread, while it runs what it has read
        self._closed = False
        self._buffer = bytearray(READ)
        self._view = memoryview(self._buffer)
        self._loop.add_reader(sock.fileno(), self._readable)

    def defers(self) -> bool:
        """Whether the calling thread leads and will flush soon: answers to one read then go out in one write."""
        return self._deferring == threading.get_ident()

    def submit(self, handler: str, function: Callable[..., None], *args: Any) -> None:
        """Run a handler: in line if a leader is reading and it is quick, else on any thread of the pool."""
        assert self._pool is not None
        if self._leader is not None and self._pace.quick(handler):
            self._mine.append((function, args))
        else:
            self._pool.submit(function, *args)

    def close(self) -> None:
        """Read no more (on the loop, before the socket is closed)."""
        self._closed = True
        self._loop.remove_reader(self._socket.fileno())
        with self._lock:
            self._leader = None
            self._deferring = 0

    def step_down(self) -> None:
        """The calling thread is about to wait: if it leads, somebody else reads from now on."""
        with self._lock:
            if self._deferring != threading.get_ident():
                return
            self._leader = None
            self._deferring = 0
            stranded, self._mine = self._mine, deque()
        assert self._pool is not None
        self._flush()
        for function, args in stranded:
            self._pool.submit(function, *args)
        self._soon(self._resume)

    # on the loop

    def _readable(self) -> None:
        now = time.monotonic()
        loaded = now - self._last_read < LOAD
        self._last_read = now
        if loaded and self._pool is not None:
            self._begin_leading(self._pool)
            return
        try:
            data = self._read(self._socket)
        except OSError as exc:
            self._lost(exc)
        except EOFError:
            self._lost(None)
        else:
            if data is not None:
                self._take(data)

    def _begin_leading(self, pool: HandlerPool) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._leader = token = object()
        self._busy_since = 0.0
        pool.submit(self._lead, token, os.dup(self._socket.fileno()))
        self._loop.call_later(STUCK, self._look, token)

    def _look(self, token: object) -> None:
        """Is the leader still at it?"""
        with self._lock:
            if self._leader is not token:
                return
            stuck = self._busy_since and time.monotonic() - self._busy_since > STUCK
            if stuck:
                self._leader = None
                self._deferring = 0
                stranded, self._mine = self._mine, deque()
        if not stuck:
            self._loop.call_later(STUCK, self._look, token)
            return
        assert self._pool is not None
        self._flush()
        for function, args in stranded:
            self._pool.submit(function, *args)
        self._resume()

    def _resume(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._socket.fileno(), self._readable)

    # on the leader

    def _lead(self, token: object, number: int) -> None:
        with socket.socket(fileno=number) as sock:
            sock.settimeout(PATIENCE)
            error: BaseException | None = None
            try:
                while self._run_mine(token):
                    data = self._read(sock)
                    if data is None:
                        break
                    self._take(data)
            except EOFError:
                pass
            except OSError as exc:
                error = exc
            else:
                if self._yield(token):
                    self._soon(self._resume)
                return
        if self._yield(token):
            self._soon(self._lost, error)

    def _run_mine(self, token: object) -> bool:
        """Run what was read; False when somebody else reads now."""
        flushed = time.monotonic()
        while True:
            with self._lock:
                self._busy_since = 0.0
                if self._leader is not token:
                    return False
                work = self._mine.popleft() if self._mine else None
                if work is not None:
                    self._busy_since = since = time.monotonic()
                    self._deferring = threading.get_ident()
                else:
                    self._deferring = 0
            if work is None:
                self._flush()
                return True
            if since - flushed > DEFER:
                self._flush()
                flushed = since
            self._measure(work, since)

    def _measure(self, work: Work, since: float) -> None:
        function, args = work
        cpu = time.thread_time()
        HandlerPool.run(function, args)
        self._pace.measured(args[0].handler, time.monotonic() - since, time.thread_time() - cpu)

    def _read(self, sock: socket.socket) -> memoryview | None:
        """What can be read now; None if nothing can. Good until the next call. Raises `EOFError` at the end."""
        try:
            count = sock.recv_into(
                self._buffer
            )  # into the same memory each time: a fresh 256 KiB costs more than all else
        except (BlockingIOError, InterruptedError, TimeoutError):
            return None
        if not count:
            raise EOFError
        return self._view[:count]

    def _yield(self, token: object) -> bool:
        """Stop leading; False if the place was lost already."""
        with self._lock:
            if self._leader is not token:
                return False
            self._leader = None
            return True

    def _soon(self, function: Callable[..., Any], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # the loop has ended, and the worker with it
            return
