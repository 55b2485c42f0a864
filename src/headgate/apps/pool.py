"""The handler threads: started when needed up to a bound, the last one idle is the first one used.

A thread that finds more work goes on without sleeping; one that was idle for a while ends.
`concurrent.futures` makes a future and takes several locks per call, which a handler of 100 µs feels.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from headgate.apps import stamps

log = logging.getLogger("headgate.app")

IDLE_SECONDS: Final = 30.0

Work = tuple[Callable[..., None], tuple[Any, ...]]


class HandlerPool:
    """Threads that run handlers.

    Args:
        most: threads at most.
        name: prefix of their names.
        idle_seconds: how long an idle thread stays.
    """

    def __init__(self, most: int, name: str = "handler", idle_seconds: float = IDLE_SECONDS) -> None:
        self._most = most
        self._name = name
        self._idle_seconds = idle_seconds
        self._work: deque[Work] = deque()
        self._idle: list[threading.Lock] = []  # a stack: the warmest thread is woken first
        self._threads: set[threading.Thread] = set()
        self._started = 0
        self._starting = threading.Lock()
        self._closing = False

    def submit(self, function: Callable[..., None], *args: Any) -> None:
        """Run `function(*args)` on a thread, in the order of the calls."""
        self._work.append((function, args))
        try:
            self._idle.pop().release()
        except IndexError:
            self._start()

    @property
    def threads(self) -> int:
        return len(self._threads)

    @property
    def busy(self) -> int:
        """Threads that run something now."""
        return len(self._threads) - len(self._idle)

    @property
    def waiting(self) -> int:
        """Calls that no thread has taken yet."""
        return len(self._work)

    def resize(self, most: int) -> None:
        """Have at most so many threads: more are started if calls wait for them; fewer as threads become idle."""
        self._most = most
        for _ in range(min(len(self._work), most - len(self._threads))):
            self._start()

    def close(self, timeout: float) -> bool:
        """Let the threads end once the work is done; returns whether all of them have within `timeout` seconds each."""
        self._closing = True
        while self._idle:
            self._idle.pop().release()
        for thread in list(self._threads):
            thread.join(timeout)
        return not self._threads

    def _start(self) -> None:
        with self._starting:
            if len(self._threads) >= self._most:
                return
            self._started += 1
            thread = threading.Thread(target=self._serve, name=f"{self._name}-{self._started}", daemon=True)
            self._threads.add(thread)
        thread.start()

    def _serve(self) -> None:
        wake = threading.Lock()
        wake.acquire()
        work = self._work
        try:
            while True:
                try:
                    function, args = work.popleft()
                except IndexError:
                    if self._closing or not self._sleep(wake):
                        return
                    continue
                self.run(function, args)
                del function, args
        finally:
            stamps.leave()
            self._threads.discard(threading.current_thread())

    @staticmethod
    def run(function: Callable[..., None], args: tuple[Any, ...]) -> None:
        """Run it on the calling thread; raises nothing."""
        handler = getattr(args[0], "handler", None) if args else None
        if handler is not None:
            stamps.begin(handler)
        try:
            function(*args)
        except BaseException:  # a bug of ours: handlers' own errors are dealt with further down
            log.exception("%r failed in a handler thread", function)
        finally:
            if handler is not None:
                stamps.end()

    def _sleep(self, wake: threading.Lock) -> bool:
        """Wait to be woken; False when the thread has been idle for long enough to end."""
        idle = self._idle
        idle.append(wake)
        if self._work or self._closing:  # it came between our look and our lying down: the wake-up may have missed us
            return self._rise(wake)
        return wake.acquire(timeout=self._idle_seconds) or self._rise(wake, stay=False)

    def _rise(self, wake: threading.Lock, stay: bool = True) -> bool:
        try:
            self._idle.remove(wake)
        except ValueError:  # somebody has taken us off the stack and is about to wake us
            wake.acquire()
            return True
        return stay
