"""The gateways' link sockets: bound by the supervisor, so that one outlives a gateway that dies.

A gateway takes a free one of its number, and one that is started after a death takes what the dead one had. While an
old and a new gateway of a number serve side by side, the new one has a socket of its own; the one that the old leaves
behind is closed with it.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass
class _Held:
    index: int
    path: Path
    listener: socket.socket
    run: int | None = None
    """The run that listens on it; None while it is free."""


class LinkSockets:
    """All link sockets of one supervisor.

    Args:
        path: (gateway, number) → where a socket is to be; number 1 is the first of a gateway.
        listen: makes a listening socket at a path.
        close: closes one, and removes its file.
    """

    def __init__(
        self,
        path: Callable[[int, int], Path],
        listen: Callable[[Path], socket.socket],
        close: Callable[[socket.socket], None],
    ) -> None:
        self._path = path
        self._listen = listen
        self._close = close
        self._held: list[_Held] = []

    @property
    def paths(self) -> tuple[str, ...]:
        """What app workers dial."""
        return tuple(str(held.path) for held in self._held)

    def prepare(self, gateways: int) -> None:
        """Bind one for each gateway, before any of them is there."""
        for index in range(gateways):
            self._add(index)

    def take(self, run: int, index: int) -> socket.socket:
        """The socket for a run of a gateway that is about to start."""
        free = next((held for held in self._held if held.index == index and held.run is None), None)
        held = free or self._add(index)
        held.run = run
        return held.listener

    def release(self, run: int) -> bool:
        """A run of a gateway has ended; whether `paths` have changed by that."""
        mine = next((held for held in self._held if held.run == run), None)
        if mine is None:
            return False
        mine.run = None
        if not any(held.index == mine.index and held is not mine for held in self._held):
            return False  # its successor listens here
        self._held.remove(mine)
        self._close(mine.listener)
        return True

    def _add(self, index: int) -> _Held:
        used = {held.path for held in self._held}
        path = next(path for number in itertools.count(1) if (path := self._path(index, number)) not in used)
        held = _Held(index, path, self._listen(path))
        self._held.append(held)
        return held
