"""Any sleep at all in a turn: a loop's thread that gives up the CPU of its own accord while it is busy has blocked.

The system counts these switches (getrusage(2), RUSAGE_THREAD), also inside C and also for a millisecond. Which call it
was is told by a second run under a profiler, which reads the counter around each call of C code.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from headgate.base.errors import ConfigError
from headgate.watch import calls
from headgate.watch.model import BLOCKING, Incident
from headgate.watch.native import clock, getpid, wall
from headgate.watch.stacks import Frame, Stack, blamed, take, without_own, write_out

_WHO: Final = getattr(resource, "RUSAGE_THREAD", None)


def switches() -> int:
    """How often this thread has gone to sleep so far."""
    assert _WHO is not None
    return resource.getrusage(_WHO).ru_nvcsw


class Switches:
    """Watches asyncio's own loops for turns with a sleep in them.

    Raises:
        ConfigError: this system does not count per thread.
    """

    def __init__(self) -> None:
        if _WHO is None:
            raise ConfigError("'any' needs Linux, which counts the switches of each thread; give a length of time")
        self.turns = 0
        self.slept: list[tuple[int, int]] = []
        """(begin, end) of turns with a sleep."""
        self.named: list[Incident] = []
        """Filled by `profiled`."""
        self._original: Any = None

    def install(self) -> None:
        """Hook the loops that start from now on."""
        import asyncio.base_events

        kind: Any = asyncio.base_events.BaseEventLoop
        self._original = original = kind.run_forever

        def run_forever(loop: Any) -> Any:
            selector = loop._selector
            selector.select = self._around(selector.select)
            try:
                return original(loop)
            finally:
                selector.__dict__.pop("select", None)

        kind.run_forever = run_forever

    def remove(self) -> None:
        """Take the hook away."""
        import asyncio.base_events

        kind: Any = asyncio.base_events.BaseEventLoop
        kind.run_forever = self._original

    def _around(self, select: Callable[..., Any]) -> Callable[..., Any]:
        begin, before = clock(), switches()

        def counted(timeout: Any = None) -> Any:
            nonlocal begin, before
            self.turns += 1
            if switches() != before:
                self.slept.append((begin, clock()))
            try:
                return select(timeout)
            finally:
                begin, before = clock(), switches()

        return counted

    def profiled(self, run: Callable[[], object]) -> list[Incident]:
        """Run something again and name each call that sleeps in a turn. Slow."""
        self.named = []
        open_calls: list[tuple[int, int, int]] = []

        def profile(frame: FrameType, event: str, argument: Any) -> None:
            if event == "c_call":
                open_calls.append((switches(), clock(), len(self.named)))
            elif event in ("c_return", "c_exception") and open_calls:
                before, begin, known = open_calls.pop()
                inside = len(self.named) > known  # the call that slept was made inside this one, and is named
                if not inside and switches() != before and _in_turn(frame):
                    self.named.append(_incident(frame, argument, begin))

        sys.setprofile(profile)
        try:
            run()
        finally:
            sys.setprofile(None)
        return self.named


def _in_turn(frame: FrameType) -> bool:
    """Whether a call was made by a callback of a loop, and is not the loop's own wait."""
    stack = write_out(take(frame))
    if any(each.file.endswith("selectors.py") for each in stack[:2]):
        return False
    return any(each.function.endswith("_run_once") for each in stack)


def _incident(frame: FrameType, function: Any, begin: int) -> Incident:
    stack: Stack = without_own(write_out(take(frame)))
    index = blamed(stack)
    place: Frame = stack[index]
    name = f"{getattr(function, '__module__', None) or ''}.{getattr(function, '__qualname__', '?')}".strip(".")
    call = calls.callee(stack, index) or name.removeprefix("builtins.")
    now = clock()
    return Incident(
        at=wall(),
        pid=getpid(),
        process="",
        kind="asyncio",
        line="asyncio",
        cause=BLOCKING,
        seconds=(now - begin) / 1e9,
        file=place.file,
        number=place.line,
        function=place.function,
        code="",
        call=call,
        advice="it gives up the CPU inside a turn of the loop: await it, or run it in a thread",
    )
