"""The standing connection to whichever server has our keys: made, watched, and made anew when it breaks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from redis.exceptions import (
    AskError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)

from headgate.base.errors import ConfigError, EngineGone, HeadgateError, Unavailable
from headgate.drivers.redis.address import Address
from headgate.drivers.redis.durability import facts_of
from headgate.drivers.redis.find import connect
from headgate.drivers.redis.line import Line
from headgate.drivers.redis.scripts import Scripts, missing, unwrapped

log = logging.getLogger(__name__)

FIRST_WAIT, GREATEST_WAIT = 0.02, 2.0
"""Seconds between two attempts to connect; doubled each time, with jitter."""
LOOK: Final = 0.25
"""Seconds between two looks for answers that are overdue."""

PAUSE: Final = 0.075
"""Seconds, give or take a third, before a server that could not do a request just now is asked again."""

_ELSEWHERE = (MovedError, ReadOnlyError, ClusterDownError, MasterDownError)
"""The server is not (or no longer) the one that has our keys; nothing was done."""
_ON_THE_WAY = (AskError, TryAgainError)
"""Our keys are on their way to another server, and belong to the old one until all are there; nothing was done."""


class Link:
    """All that goes to Redis goes through here.

    Args:
        address: where to look.
        prefix: of all keys; its hash slot says which server of a cluster has them.
        pushed: called with (channel, payload) of each message that comes.
        connected: called when a connection is there, the first time and again, before anything else is sent on it.
        now: the time as scripts are to see it, or None for the server's own.
    """

    def __init__(
        self,
        address: Address,
        prefix: str,
        pushed: Callable[[bytes, bytes], None],
        connected: Callable[[], None],
        now: Callable[[], float] | None,
    ) -> None:
        self.address = address
        self.prefix = prefix
        self.scripts = Scripts(prefix)
        self.facts: dict[str, str] = {}
        """INFO of the server as it was when we connected."""
        self.trouble: HeadgateError | None = None
        """Why there is no connection."""
        self.reconnects = -1
        self._pushed = pushed
        self._connected = connected
        self._now = now
        self._line: Line | None = None
        self._up = asyncio.Event()
        self._down = asyncio.Event()
        self._closed = False
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def up(self) -> bool:
        return self._line is not None

    @property
    def busy(self) -> bool:
        """Whether something has been asked and not been answered."""
        return self._line is None or self._line.unanswered > 0

    async def open(self, patience: float) -> None:
        """Begin; returns when the server has been reached.

        Raises:
            Unavailable: it was not, within `patience` seconds.
            ConfigError: it was, and will not do.
        """
        loop = asyncio.get_running_loop()
        self._closed = False
        self._tasks = [loop.create_task(self._stay_connected()), loop.create_task(self._watch())]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._up.wait(), patience)
        if self._line is None:
            trouble = self.trouble or Unavailable("no answer yet")
            await self.close()
            if isinstance(trouble, ConfigError):
                raise trouble
            raise Unavailable(
                f"no Redis answers at {self.address.shown}: {str(trouble).rstrip('.')}. "
                "Is it running, and reachable from this machine?"
            )

    async def close(self) -> None:
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        line, self._line = self._line, None
        if line is not None:
            await line.close()

    async def run(self, operation: str, arguments: bytes, *, repeat: bool, patience: float | None) -> Any:
        """Run one of our operations.

        Args:
            repeat: it may be carried out twice without harm.
            patience: seconds to wait for a connection; None for ever.

        Raises:
            Unavailable: there is no connection, or the server refuses. EngineGone: the connection broke meanwhile.
        """

        return await self._insist(lambda line: line.call(*self._command(operation, arguments)), repeat, patience)

    async def run_on(self, operation: str, arguments: bytes, patience: float | None) -> tuple[Any, Line]:
        """Run one of our operations that may be repeated; its reply and the connection that gave it. As `run`."""

        async def send(line: Line) -> tuple[Any, Line]:
            return await line.call(*self._command(operation, arguments)), line

        answered: tuple[Any, Line] = await self._insist(send, True, patience)
        return answered

    async def replicated(self, line: Line, count: int, seconds: float) -> int:
        """How many replicas have all that was written on this very connection.

        WAIT speaks only of writes of its own connection: on another one it counts replicas that lack them.

        Args:
            line: where the writes were answered.
            count: how many replicas are enough.
            seconds: to wait for them at most.

        Raises:
            EngineGone: the connection broke, or the server did not say; nobody knows how many have the writes.
        """
        try:
            return int(await line.call("WAIT", count, max(1, int(seconds * 1000))))
        except EngineGone as exc:
            raise EngineGone(
                "the connection broke before replicas were asked; the job may or may not be kept. "
                "Put it again under the same id (or idempotency key); it will not run twice"
            ) from exc
        except RedisError as exc:
            raise EngineGone(f"the server did not say what its replicas have: {exc}; the job may not be kept") from exc

    def _command(self, operation: str, arguments: bytes) -> tuple[Any, ...]:
        now = "" if self._now is None else repr(self._now())
        return self.scripts.command(operation, now, arguments)

    async def ask(self, *command: Any) -> Any:
        """A plain command that only looks."""
        return await self._insist(lambda line: line.call(*command), True, 5.0)

    def subscribe(self, channels: list[str], wanted: bool) -> None:
        """Hear channels, or no longer; forgotten with the connection. Takes effect before what is called after."""
        line = self._line
        if line is None or not channels:
            return
        line.listen(self.scripts.listening(wanted), [name.encode() for name in channels])

    async def _insist(self, send: Callable[[Line], Awaitable[Any]], repeat: bool, patience: float | None) -> Any:
        until = float("inf") if patience is None else time.monotonic() + patience
        while True:
            line = self._line or await self._wait(until)
            pause = 0.0
            try:
                return await send(line)
            except EngineGone:
                self._gone(line)
                if not repeat or self._closed:
                    raise
            except RedisError as exc:
                pause = await self._mind(line, unwrapped(exc))
                if time.monotonic() + pause >= until:
                    raise _refused(unwrapped(exc)) from exc
            # What has failed without waiting is not to keep the loop from whoever makes the connection anew.
            await asyncio.sleep(pause)

    async def _mind(self, line: Line, error: RedisError) -> float:
        """Do what lets a request that was refused be asked for again; returns after how many seconds.

        Raises:
            HeadgateError: nothing does.
        """
        if isinstance(error, _ELSEWHERE):
            line.drop(f"the server has our keys no more: {error}")
        elif isinstance(error, OutOfMemoryError):
            raise Unavailable(
                "Redis has reached its maxmemory and accepts nothing new; nothing of this request was done. "
                "Give it more memory, or shorten result_ttl; what is queued goes on"
            ) from error
        elif missing(error):
            return 0.0 if await self._reload(line) else _about(PAUSE)
        elif isinstance(error, _ON_THE_WAY):
            return _about(PAUSE)
        else:
            raise _refused(error) from error
        return 0.0

    async def _wait(self, until: float) -> Line:
        """The connection, once there is one."""
        while self._line is None:
            left = until - time.monotonic()
            if self._closed or left <= 0:
                why = "it was closed here" if self._closed else self.trouble or "it is being connected"
                raise Unavailable(f"Redis at {self.address.shown} cannot be reached: {why}")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._up.wait(), min(left, 1.0))
        return self._line

    async def _reload(self, line: Line) -> bool:
        """Load the scripts anew; whether they are there now."""
        try:
            await self.scripts.prepare(line, self.facts)
        except (HeadgateError, RedisError) as exc:
            log.debug("the scripts cannot be loaded anew: %s", exc)
            return False
        return True

    async def _stay_connected(self) -> None:
        wait = FIRST_WAIT
        while True:
            try:
                line = await self._connect()
                if not line.alive:
                    raise EngineGone("the connection broke while it was being set up")
            except HeadgateError as exc:
                self._say(exc)
                await asyncio.sleep(wait * (0.5 + random.random()))
                wait = min(GREATEST_WAIT, wait * 2)
                continue
            wait = FIRST_WAIT
            self.trouble = None
            self.reconnects += 1
            self._line = line
            self._connected()
            self._up.set()
            await self._down.wait()
            # All clients lose a server at the same moment; they are not to come back at the same moment.
            await asyncio.sleep(wait * random.random())

    async def _connect(self) -> Line:
        connection = await connect(self.address, self.prefix)
        self._down.clear()
        line = Line(connection, self._pushed, self._broke)
        try:
            async with asyncio.timeout(10):
                self.facts = facts_of(await line.call("INFO"))
                if self.facts.get("role") == "slave" and self.address.kind != "cluster":
                    raise Unavailable("the server is a replica; name its master, or use redis+sentinel://")
                await self.scripts.prepare(line, self.facts)
        except HeadgateError:
            await line.close()
            raise
        except (RedisError, TimeoutError) as exc:
            await line.close()
            raise _refused(exc) from exc
        return line

    def _say(self, exc: HeadgateError) -> None:
        # Before the first connection whoever opens it is told.
        if self.reconnects >= 0 and str(exc) != str(self.trouble):
            log.warning("no connection to Redis at %s: %s", self.address.shown, exc)
        self.trouble = exc

    def _gone(self, line: Line) -> None:
        """A connection that took no request; its own word of its end may have come before it was ours."""
        if self._line is line and not line.alive:
            self._broke()

    def _broke(self) -> None:
        self._line = None
        self._up.clear()
        self._down.set()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            if self._line is not None and self._line.silent():
                self._line.drop("Redis has not answered for 5 s; the connection is taken for dead")


def _about(seconds: float) -> float:
    return seconds * random.uniform(2 / 3, 4 / 3)


def _refused(exc: Exception) -> HeadgateError:
    if isinstance(exc, NoPermissionError) or "can't run this command" in str(exc):
        return ConfigError(
            f"the Redis user may not do what Headgate needs: {exc}. Give it ~{{NAMESPACE}}:* &{{NAMESPACE}}:* "
            "+@read +@write +@scripting +@pubsub +@connection +info +time"
        )
    if isinstance(exc, ResponseError) and not isinstance(exc, RedisConnectionError):
        return Unavailable(f"Redis refused the request, and nothing of it was done: {exc}")
    return Unavailable(f"Redis: {exc or type(exc).__name__}")
