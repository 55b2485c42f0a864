"""Turns the watch on and off in a process that runs, so that both sides of a pair are the same process.

Two processes of the same program differ by more than the watch costs: by where their memory happens to lie.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from headgate.watch.install import install
from headgate.watch.process import Options, Watch


class Switch:
    """Of one process, to be used on its loop or hub.

    Args:
        kind: of its loop.
    """

    def __init__(self, kind: str) -> None:
        self._enter = _ENTER[kind]
        self._folder = Path(tempfile.mkdtemp(prefix="hg-watch-"))
        self._off: Callable[[], None] | None = None

    def turn(self, on: bool) -> None:
        """Watch this loop as `headgate watch run` has it, or not at all."""
        if self._off is not None:
            self._off()
            self._off = None
        if on:
            watch = install(Options(folder=self._folder, log=None))
            leave = self._enter(watch)

            def off() -> None:
                leave()
                watch.stop()

            self._off = off


def _asyncio(watch: Watch) -> Callable[[], None]:
    import asyncio

    from headgate.watch.adapters import asyncio_loops

    return asyncio_loops.enter(asyncio.get_running_loop(), watch)


def _eventlet(watch: Watch) -> Callable[[], None]:
    from eventlet.hubs import get_hub

    from headgate.watch.adapters import eventlet_hubs

    leave: Callable[[], None] = eventlet_hubs.enter(get_hub(), watch)
    return leave


def _gevent(watch: Watch) -> Callable[[], None]:
    from gevent import get_hub

    from headgate.watch.adapters import gevent_hubs

    return gevent_hubs.enter(get_hub(), watch)


_ENTER = {"asyncio": _asyncio, "uvloop": _asyncio, "eventlet": _eventlet, "gevent": _gevent}
