"""Long-lived connections spread evenly over the gateways of one machine.

The kernel deals new connections out by a hash (SO_REUSEPORT), and 200 of them fall like dice. So each gateway
writes its count into a small shared table, and one that holds clearly more than another hands a connection that
has just come over to that one, as a descriptor over a Unix socket, before a byte of it is read.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import logging
import mmap
import os
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

log = logging.getLogger("headgate.gateway")

SLOTS: Final = 256
"""Gateways that the table has room for."""
ALIVE: Final = 3.0
"""Seconds after which the entry of a gateway that writes no more counts as old."""
MARGIN: Final = 2
"""Connections that a gateway may hold more than another before it hands over."""
_ENTRY: Final = struct.Struct("<qd")
_AT_ONCE: Final = 64


class Table:
    """The counts of all gateways, in a file that they all map.

    Args:
        path: of the file; made if it is not there.
        index: whose entry is ours.
        now: a clock that all processes of the machine share, seconds.
    """

    def __init__(self, path: Path, index: int, now: Callable[[], float] = time.monotonic) -> None:
        self._index = index
        self._now = now
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, SLOTS * _ENTRY.size)
            self._map = mmap.mmap(descriptor, SLOTS * _ENTRY.size)
        finally:
            os.close(descriptor)

    def tell(self, count: int) -> None:
        """Our count, as of now."""
        _ENTRY.pack_into(self._map, self._index * _ENTRY.size, count, self._now())

    def handed(self, index: int) -> None:
        """One connection is on its way to another, which will say so itself in a moment."""
        held, stamp = _ENTRY.unpack_from(self._map, index * _ENTRY.size)
        _ENTRY.pack_into(self._map, index * _ENTRY.size, held + 1, stamp)

    def retire(self) -> None:
        """We take no more: nobody hands anything to us."""
        _ENTRY.pack_into(self._map, self._index * _ENTRY.size, 0, 0.0)

    def lighter(self, count: int, gateways: int) -> list[int]:
        """The gateways that hold clearly less than `count`, the lightest first."""
        limit = self._now() - ALIVE
        found = []
        for index in range(min(gateways, SLOTS)):
            held, stamp = _ENTRY.unpack_from(self._map, index * _ENTRY.size)
            if index != self._index and stamp > limit and held < count - MARGIN:
                found.append((held, index))
        return [index for _, index in sorted(found)]


class Balance:
    """One gateway's part in the balance.

    Args:
        folder: where the table and the sockets are (0700).
        index, gateways: which one this is, of how many.
        adopt: takes a connection that another gateway accepted.
    """

    def __init__(self, folder: Path, index: int, gateways: int, adopt: Callable[[socket.socket], None]) -> None:
        self._folder = folder
        self._index = index
        self._gateways = gateways
        self._adopt = adopt
        self._table: Table | None = None
        self._socket: socket.socket | None = None
        self._bound = 0  # the inode of our socket's file: a successor's may lie in its place
        self.handed = self.taken = 0

    def start(self) -> None:
        """Take part, if there are others. What fails is logged: a gateway serves without it too."""
        if self._gateways < 2 or self._index >= SLOTS:
            return
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            path = self._path(self._index)
            path.unlink(missing_ok=True)
            sock.bind(str(path))
            self._bound = path.stat().st_ino
            self._table = Table(self._folder / "balance", self._index)
        except OSError as exc:
            log.warning("connections are not balanced between the gateways: %s", exc)
            sock.close()
            return
        self._socket = sock
        asyncio.get_running_loop().add_reader(sock.fileno(), self._arrivals)

    def tell(self, count: int) -> None:
        """Connections that this gateway holds now."""
        if self._table is not None:
            self._table.tell(count)

    def hand_over(self, transport: asyncio.Transport, count: int) -> bool:
        """Give a connection that was just accepted to a lighter gateway; False when it stays here."""
        if self._table is None or self._socket is None:
            return False
        for target in self._table.lighter(count, self._gateways):
            if self._send(self._socket, transport, target):
                self._table.handed(target)
                self.handed += 1
                return True
        return False

    def _send(self, sock: socket.socket, transport: asyncio.Transport, target: int) -> bool:
        rights = array.array("i", [transport.get_extra_info("socket").fileno()])
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
        try:
            sock.sendmsg([b"c"], ancillary, 0, str(self._path(target)))  # send_fds forgets the address
        except OSError:  # it is gone, or its queue is full: nothing is lost
            return False
        return True

    def close(self) -> None:
        """Take no more; what lies in the queue is taken first."""
        if self._table is not None:
            self._table.retire()
            self._table = None
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._arrivals()
            self._socket.close()
            self._socket = None
            with contextlib.suppress(FileNotFoundError):
                if (path := self._path(self._index)).stat().st_ino == self._bound:
                    path.unlink()

    def _path(self, index: int) -> Path:
        return self._folder / f"hand.{index}.sock"

    def _arrivals(self) -> None:
        assert self._socket is not None
        for _ in range(_AT_ONCE):
            try:
                _, descriptors, _, _ = socket.recv_fds(self._socket, 16, 4)
            except (BlockingIOError, InterruptedError):
                return
            for descriptor in descriptors:
                self.taken += 1
                with contextlib.suppress(OSError):  # the client has gone meanwhile
                    self._adopt(socket.socket(fileno=descriptor))
