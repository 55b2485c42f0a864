"""One pipelined connection: requests leave together, replies come in their order, pushes in between.

Redis-py makes the connection (TLS, authentication, RESP3) and packs the commands. Once it is made we read and write its
transport ourselves: a stream and a task between the socket and each reply cost several times what a reply does.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hiredis import PushNotification
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.exceptions import RedisError, ResponseError

from headgate.base.errors import EngineGone

log = logging.getLogger(__name__)

SILENT: Final = 5.0
"""Seconds after which an unanswered request means that the connection is dead (a partition sends no word)."""


@dataclass(frozen=True, slots=True)
class Change:
    """Channels that are to be heard from now on, or no longer: a push confirms each, one reply refuses all."""

    word: bytes
    channels: set[bytes]
    """What is not confirmed yet."""
    done: asyncio.Future[None]


class Line(asyncio.Protocol):
    """A connection that is up. Must be made on its loop.

    Args:
        connection: of redis-py, connected, with RESP3 and hiredis.
        pushed: called with (channel, payload) of each message that comes.
        broke: called once, when the connection has ended.
    """

    def __init__(self, connection: Any, pushed: Callable[[bytes, bytes], None], broke: Callable[[], None]) -> None:
        self._connection = connection
        self._pack: Callable[..., list[bytes]] = connection.pack_command
        self._pushed = pushed
        self._broke = broke
        self._waiting: deque[tuple[asyncio.Future[Any] | Change, float]] = deque()
        """What is to be answered, and since when."""
        self._heard = -math.inf
        """When the last answer came."""
        self._out: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self.alive = True
        self._replies, self._transport = _taken_over(connection, self)

    def call(self, *command: Any) -> asyncio.Future[Any]:
        """Send a command; its reply or its error comes in the future. `EngineGone` if the connection ends before."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if not self.alive:
            future.set_exception(EngineGone("the connection to Redis is gone"))
            return future
        self._waiting.append((future, self._loop.time()))
        self._send(*command)
        return future

    def listen(self, word: str, channels: Sequence[bytes]) -> asyncio.Future[None]:
        """Hear channels, or no longer; whoever is not told by the future is told by the end of the connection.

        Args:
            word: SUBSCRIBE, UNSUBSCRIBE, or the same with an S before it.
            channels: at least one.
        """
        done: asyncio.Future[None] = self._loop.create_future()
        if not self.alive:
            _fail(done, EngineGone("the connection to Redis is gone"))
            return done
        self._waiting.append((Change(word.lower().encode(), set(channels), done), self._loop.time()))
        self._send(word, *channels)
        return done

    def _send(self, *command: Any) -> None:
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out += self._pack(*command)

    @property
    def unanswered(self) -> int:
        return len(self._waiting)

    def silent(self) -> bool:
        """Whether an answer is overdue: requests behind a slow one (WAIT) have their time from its answer on."""
        return bool(self._waiting) and max(self._waiting[0][1], self._heard) + SILENT < self._loop.time()

    def drop(self, why: str) -> None:
        """End it: what is unanswered fails."""
        self._transport.abort()
        self._end(why)

    async def close(self) -> None:
        """Send what is left and end."""
        self._flush()
        self._transport.close()
        self._end("the connection to Redis was closed here")
        try:
            await asyncio.wait_for(self._gone, 1.0)
        except TimeoutError:
            self._transport.abort()

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        try:
            self._replies.feed(data)
            while (reply := self._replies.gets(False)) is not NOT_ENOUGH_DATA:
                self._take(reply)
        except RedisError as exc:  # what came is no RESP
            self.drop(f"the connection to Redis broke: {exc}")

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._gone.done():
            self._gone.set_result(None)
        self._end(f"the connection to Redis broke: {exc or 'the server closed it'}")

    def _take(self, reply: Any) -> None:
        if not isinstance(reply, PushNotification):
            if isinstance(reply, RedisError) and not isinstance(reply, ResponseError):
                self.drop(f"the connection to Redis broke: {reply}")  # it is loading its data, for one
            else:
                self._answer(reply)
        elif reply[0] in (b"message", b"smessage"):
            try:
                self._pushed(reply[1], reply[2])
            except Exception:  # one message that cannot be read must not cost the replies behind it
                log.exception("a message on %r could not be taken", reply[1])
        else:
            self._confirmed(reply[0], reply[1])

    def _confirmed(self, word: bytes, channel: bytes | None) -> None:
        change = self._waiting[0][0] if self._waiting else None
        if isinstance(change, Change) and change.word == word and channel in change.channels:
            change.channels.discard(channel)
            if not change.channels:
                self._heard_of_first()
                if not change.done.done():
                    change.done.set_result(None)
        elif word == b"sunsubscribe" and channel is not None:
            self.drop("the keys have moved to another server")  # the slot has moved away with its channels

    def _answer(self, reply: Any) -> None:
        if not self._waiting:
            return
        asked = self._heard_of_first()
        if isinstance(asked, Change):
            # A reply of its own is only ever a refusal. What is to be heard and is not would be missed in silence.
            _fail(asked.done, reply if isinstance(reply, Exception) else EngineGone(repr(reply)))
            self.drop(f"Redis refused {asked.word.decode().upper()}: {reply}")
        elif asked.done():
            return
        elif isinstance(reply, Exception):
            asked.set_exception(reply)
        else:
            asked.set_result(reply)

    def _heard_of_first(self) -> asyncio.Future[Any] | Change:
        asked, _ = self._waiting.popleft()
        self._heard = self._loop.time()
        return asked

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and self.alive:
            self._transport.write(b"".join(out))

    def _end(self, why: str) -> None:
        if not self.alive:
            return
        self.alive = False
        self._connection._close()
        while self._waiting:
            asked, _ = self._waiting.popleft()
            _fail(asked.done if isinstance(asked, Change) else asked, EngineGone(why))
        self._broke()


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # whoever waited may have been cancelled: then nobody asks for it


def _taken_over(connection: Any, protocol: asyncio.Protocol) -> tuple[Any, asyncio.Transport]:
    """The parser and the transport of a connection of redis-py, whose own reader hears nothing more.

    Redis-py has no public way to them; its version is pinned, and `tests/contract/test_redis_links.py` asks for both.
    """
    transport: asyncio.Transport = connection._writer.transport
    replies = connection._parser._reader
    transport.set_protocol(protocol)
    transport.resume_reading()
    unread = bytes(connection._reader._buffer)
    if unread:  # said unasked, behind the answers to the first commands
        asyncio.get_running_loop().call_soon(protocol.data_received, unread)
    return replies, transport
