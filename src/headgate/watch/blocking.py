"""`no_blocking()`: a block of code during which no event loop of this process may be blocked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from headgate.base.errors import HeadgateError
from headgate.watch.adapters.asyncio_loops import enter
from headgate.watch.allowed import Place, complaint
from headgate.watch.install import install
from headgate.watch.model import DEBUGGER, STARVED, Incident
from headgate.watch.native import SECOND, clock
from headgate.watch.process import Options, Watch


class LoopBlocked(HeadgateError, AssertionError):
    """An event loop was blocked where it must not be.

    Args:
        incidents: each stall, named.
    """

    def __init__(self, incidents: Sequence[Incident]) -> None:
        super().__init__(complaint(incidents))
        self.incidents = list(incidents)


@contextlib.contextmanager
def no_blocking(seconds: float = 0.1, *, allow: Sequence[str] = ()) -> Iterator[list[Incident]]:
    """Watch the event loops of this process meanwhile: the one that runs here, and those that are started.

    Not to be used where the process is watched already (in Headgate, or under `headgate watch run`).

    Args:
        seconds: for which a loop may be busy without turning.
        allow: patterns of places that may block (file, `file::function`, function or call).

    Yields:
        The stalls so far.

    Raises:
        LoopBlocked: a loop was blocked for longer, at a place that is not allowed.
    """
    found: list[Incident] = []
    watch = install(Options(limit=seconds, log=None, hear=found.append, rests=False))
    if watch.options.hear != found.append:
        raise HeadgateError("this process is watched already; `headgate watch report` tells what blocked")
    leave = _enter_running(watch)
    try:
        yield found
    finally:
        settle(watch)
        leave()
        watch.stop()
    told = [each for each in found if counts(each) and not any(Place.of(each, Path()).matches(one) for one in allow)]
    if told:
        raise LoopBlocked(told)


def counts(incident: Incident) -> bool:
    """Whether a stall is the code's doing."""
    return incident.cause not in (STARVED, DEBUGGER) and not incident.unfinished and incident.kind != "thread"


def settle(watch: Watch, patience: float = 2.0) -> None:
    """Wait until the watch has told of all that is over by now."""
    until = clock() + int(patience * SECOND)
    watch.settle(until)


def _enter_running(watch: Watch) -> Callable[[], None]:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return lambda: None
    return enter(loop, watch)
