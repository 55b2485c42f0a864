"""One pipelined connection: requests leave together, replies come in their order, pushes in between."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from hiredis import PushNotification
from redis.exceptions import RedisError, ResponseError

from headgate.base.errors import EngineGone

SILENT: Final = 5.0
"""Seconds after which an unanswered request means that the connection is dead (a partition sends no word)."""


class Line:
    """A connection that is up. Must be made on its loop.

    Args:
        connection: of redis-py, connected, with RESP3.
        pushed: called with (channel, payload) of each message that comes.
        broke: called once, when the connection has ended.
    """

    def __init__(self, connection: Any, pushed: Callable[[bytes, bytes], None], broke: Callable[[], None]) -> None:
        self._connection = connection
        self._pushed = pushed
        self._broke = broke
        self._waiting: deque[tuple[asyncio.Future[Any], float]] = deque()
        """What is to be answered, and since when."""
        self._heard = -math.inf
        """When the last answer came."""
        self._out: list[bytes] = []
        self._more = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.alive = True
        self.left: set[bytes] = set()
        """Channels that we have left ourselves."""
        self._tasks = [self._loop.create_task(self._read()), self._loop.create_task(self._write())]

    def call(self, *command: Any) -> asyncio.Future[Any]:
        """Send a command; its reply or its error comes in the future. `EngineGone` if the connection ends before."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if not self.alive:
            future.set_exception(EngineGone("the connection to Redis is gone"))
            return future
        self._waiting.append((future, self._loop.time()))
        self.send(*command)
        return future

    def send(self, *command: Any) -> None:
        """Send a command that has no reply of its own (SUBSCRIBE: it is confirmed by a push)."""
        if self.alive:
            self._out += self._connection.pack_command(*command)
            self._more.set()

    @property
    def unanswered(self) -> int:
        return len(self._waiting)

    def silent(self) -> bool:
        """Whether an answer is overdue: requests behind a slow one (WAIT) have their time from its answer on."""
        return bool(self._waiting) and max(self._waiting[0][1], self._heard) + SILENT < self._loop.time()

    def drop(self, why: str) -> None:
        """End it: what is unanswered fails."""
        if not self.alive:
            return
        self.alive = False
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        while self._waiting:
            future, _ = self._waiting.popleft()
            if not future.done():
                future.set_exception(EngineGone(why))
                future.exception()  # whoever waited may have been cancelled: then nobody asks for it
        closing = self._loop.create_task(self._connection.disconnect(nowait=True))
        self._tasks.append(closing)
        self._broke()

    async def close(self) -> None:
        """Send what is left and end."""
        if self.alive:
            out, self._out = self._out, []
            try:
                if out:
                    await asyncio.wait_for(self._connection.send_packed_command(out, check_health=False), 1.0)
            except (RedisError, OSError, TimeoutError):
                pass  # it is being closed
            self.drop("the connection to Redis was closed here")
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _write(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            out, self._out = self._out, []
            try:
                await self._connection.send_packed_command(b"".join(out), check_health=False)
            except (RedisError, OSError) as exc:
                self.drop(f"the connection to Redis broke: {exc}")
                return

    async def _read(self) -> None:
        read = self._connection.read_response
        while True:
            try:
                reply = await read(disable_decoding=True, timeout=math.inf, push_request=True)
            except ResponseError as exc:
                self._answer(exc)
                continue
            except (RedisError, OSError) as exc:
                self.drop(f"the connection to Redis broke: {exc}")
                return
            if isinstance(reply, PushNotification):
                if reply[0] in (b"message", b"smessage"):
                    self._pushed(reply[1], reply[2])
                elif reply[0] == b"sunsubscribe" and reply[1] is not None:
                    # The slot has moved away with its channels.
                    self._moved(reply[1])
            else:
                self._answer(reply)

    def _moved(self, channel: bytes) -> None:
        if channel not in self.left:
            self.drop("the keys have moved to another server")

    def _answer(self, reply: Any) -> None:
        future, _ = self._waiting.popleft()
        self._heard = self._loop.time()
        if future.done():
            return
        if isinstance(reply, Exception):
            future.set_exception(reply)
        else:
            future.set_result(reply)
