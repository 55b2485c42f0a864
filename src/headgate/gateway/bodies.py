"""Request bodies, taken in whole before an app worker hears of the request: memory first, then a spool file.

A slow upload so holds no thread of the app, only a file. Files are written and removed on a thread, because a
disk that stalls must not stall the sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from headgate.base.errors import HeadgateError
from headgate.link.messages import INLINE_BODY

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class TooLarge(HeadgateError):
    """The body is over `max_body`."""


class TooSlow(HeadgateError):
    """No piece of the body came within the idle time, or too little of it on average.

    Args:
        bound: the setting that says so.
    """

    def __init__(self, text: str, bound: str) -> None:
        super().__init__(f"{text} ({bound})")
        self.bound = bound


class Disconnected(HeadgateError):
    """The client went away before the body was complete."""


class Pace(msgspec.Struct, frozen=True):
    """How slowly a body may come.

    Args:
        idle: seconds without a piece after which it is given up.
        rate: bytes per second that it must average once `idle` seconds have passed; 0 for no limit.
    """

    idle: float = 30.0
    rate: float = 0.0

    def check(self, size: int, spent: float) -> None:
        """One that sends a byte now and then would never be silent, and never done. Raises `TooSlow`."""
        if spent > self.idle and size < spent * self.rate:
            raise TooSlow(f"it came with less than {self.rate:g} bytes per second", "body_rate")


class Coming:
    """A body that is under way.

    Args:
        receive: of the request.
        pace: at which it must come.
    """

    def __init__(self, receive: Receive, pace: Pace) -> None:
        self._receive = receive
        self._pace = pace
        self._since = time.monotonic()
        self.size = 0

    async def piece(self) -> tuple[bytes, bool]:
        """What comes next of it, and whether there is more.

        Raises:
            TooSlow, Disconnected
        """
        try:
            async with asyncio.timeout(self._pace.idle):
                message = await self._receive()
        except TimeoutError:
            raise TooSlow(f"nothing came for {self._pace.idle:g} s", "body_timeout") from None
        if message["type"] == "http.disconnect":
            raise Disconnected("the client went away")
        data: bytes = message.get("body", b"")
        self.size += len(data)
        more: bool = message.get("more_body", False)
        if more:
            self._pace.check(self.size, time.monotonic() - self._since)
        return data, more


async def whole(receive: Receive, most: int, pace: Pace) -> bytes:
    """A body that is kept in memory.

    Args:
        most: bytes that it may have.

    Raises:
        TooLarge, TooSlow, Disconnected
    """
    coming, parts, more = Coming(receive, pace), list[bytes](), True
    while more:
        part, more = await coming.piece()
        parts.append(part)
        if coming.size > most:
            raise TooLarge(f"more than {most} bytes")
    return b"".join(parts)


class Body:
    """A complete body: `data`, or the file at `path`."""

    __slots__ = ("data", "path", "size")

    def __init__(self, data: bytes = b"", path: str | None = None, size: int = 0) -> None:
        self.data = data
        self.path = path
        self.size = size


class Spool:
    """The folder of one gateway's body files.

    Args:
        folder: shared by the gateways of the installation.
        prefix: this gateway's file names begin with it; what an earlier run left is removed.
        memory: bytes of one body kept in memory while it comes in.
        most: bytes of one body in all.
        pace: at which a body must come.
    """

    def __init__(self, folder: Path, prefix: str, *, memory: int, most: int, pace: Pace) -> None:
        self.folder = folder
        self.most = most
        self._prefix = prefix
        self._memory = memory
        self._pace = pace
        self._numbers = itertools.count(1)
        self.files = 0

    def prepare(self, *, alone: bool = True) -> None:
        """Make the folder, and, unless one of the same prefix is at work still, remove what an earlier run left."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in [] if not alone else self.folder.glob(f"{self._prefix}-*"):
            with contextlib.suppress(OSError):
                left.unlink()

    async def take(self, receive: Receive) -> Body:
        """Read a request's body to its end.

        Raises:
            TooLarge, TooSlow, Disconnected: and nothing is kept.
            OSError: the spool folder cannot be written.
        """
        coming = Coming(receive, self._pace)
        data, more = await coming.piece()
        if not more:
            if len(data) > self.most:
                raise TooLarge(f"{len(data)} bytes")
            return Body(data, None, len(data)) if len(data) <= INLINE_BODY else await self._store(data)
        return await self._take_long(coming, data)

    async def discard(self, body: Body) -> None:
        """Remove a body's file."""
        if body.path is not None:
            path, body.path = body.path, None
            self.files -= 1
            with contextlib.suppress(OSError):
                await asyncio.to_thread(os.unlink, path)

    async def _take_long(self, coming: Coming, first: bytes) -> Body:
        held, file, body, more = bytearray(first), None, Body(), True
        try:
            while more:
                piece, more = await coming.piece()
                held += piece
                if coming.size > self.most:
                    raise TooLarge(f"more than {self.most} bytes")
                if len(held) > self._memory or (not more and coming.size > INLINE_BODY):
                    if file is None:
                        file = self._open(body)
                    await asyncio.to_thread(_write, file, held)
                    held = bytearray()
            if file is None:
                return Body(bytes(held), None, coming.size)
            await asyncio.to_thread(_finish, file, held)
            body.size = coming.size
            return body
        except BaseException:
            if file is not None:
                file.close()
            await self.discard(body)
            raise

    async def _store(self, data: bytes) -> Body:
        body = Body(b"", None, len(data))
        file = self._open(body)
        try:
            await asyncio.to_thread(_finish, file, data)
        except BaseException:
            await self.discard(body)
            raise
        return body

    def _open(self, body: Body) -> BinaryIO:
        descriptor, path = tempfile.mkstemp(prefix=f"{self._prefix}-{next(self._numbers)}-", dir=self.folder)
        body.path = path
        self.files += 1
        return os.fdopen(descriptor, "wb", buffering=0)


def _write(file: BinaryIO, data: bytes | bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _finish(file: BinaryIO, rest: bytes | bytearray) -> None:
    with file:
        _write(file, rest)
