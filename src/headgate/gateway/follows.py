"""Streams followed by connections: each stream is followed once per gateway and passed on to all who want it.

Every follower has its own offset and gets every event after it, in order, up to the terminal one. One who
comes late reads up to where the shared follower is, and joins it there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import msgspec

from headgate.base.errors import HeadgateError, StreamError
from headgate.base.model import Event
from headgate.base.ports import Streams
from headgate.gateway.wire import text_frame

log = logging.getLogger("headgate.gateway")

PAUSE: Final = 0.5
"""Seconds between tries while the engine is away."""
TURN: Final = 100
"""Followers served before the loop gets a turn, in which it sends what was written."""
PAGE: Final = 250
"""Events read at once for one who is behind."""
GONE: Final = "gone"
PROGRESS: Final = "progress"


class Told:
    """One event on its way to many followers: each form of it is made once, when the first one wants it."""

    __slots__ = ("_frame", "event", "stream")

    def __init__(self, stream: str, event: Event) -> None:
        self.stream = stream
        self.event = event
        self._frame: bytes | None = None

    @property
    def frame(self) -> bytes:
        """As clients of native sockets see it, a whole text frame."""
        if self._frame is None:
            self._frame = encode(self.stream, self.event)
        return self._frame

    @property
    def size(self) -> int:
        """About how many bytes it holds."""
        return len(self.frame)


class Follower(Protocol):
    """A connection, as far as streams need it."""

    def event(self, told: Told) -> None:
        """One event; nothing follows a terminal one."""

    def behind(self) -> Awaitable[None] | None:
        """None if it can take events now; else what ends when it can."""


def encode(stream: str, event: Event) -> bytes:
    """An event as clients see it (a whole text frame)."""
    content: dict[str, Any] = {
        "headgate": "event",
        "stream": stream,
        "offset": f"{event.offset:016d}",
        "event": event.kind,
        "data": shown(event),
    }
    if event.terminal:
        content["terminal"] = True
    return text_frame(msgspec.json.encode(content, enc_hook=str))


_WITH_TRACEBACK: Final = frozenset(["failed", "retrying", "log"])


def shown(event: Event) -> Any:
    """An event's data without what is not for clients: tracebacks."""
    data = event.data
    if event.kind in _WITH_TRACEBACK and isinstance(data, dict):
        return {key: value for key, value in data.items() if key != "traceback"}
    return data


def end(stream: str, offset: int, reason: str) -> Told:
    """An end that the gateway itself has to tell of: the stream is gone."""
    return Told(stream, Event(offset, GONE, {"reason": reason}, 0.0, terminal=True))


class _Followed:
    """One stream that somebody follows."""

    def __init__(self, stream: str, after: int) -> None:
        self.stream = stream
        self.at = after
        """The last offset that was passed on to the live followers."""
        self.live: dict[Follower, int] = {}
        self.task: asyncio.Task[None] | None = None


class Follows:
    """All followed streams of one gateway.

    Args:
        streams: gives the engine's streams, or None while there is no engine.
        sleep: waits so many seconds.
    """

    def __init__(self, streams: Callable[[], Streams | None], sleep: Callable[[float], Any] = asyncio.sleep) -> None:
        self._streams = streams
        self._sleep = sleep
        self._followed: dict[str, _Followed] = {}
        self._late: dict[tuple[Follower, str], asyncio.Task[None]] = {}
        self._checks: dict[tuple[Follower, str], asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._followed)

    def follow(self, follower: Follower, stream: str, after: int) -> None:
        """Pass every event after the offset on to the follower. Following twice starts again at the new offset."""
        self.unfollow(follower, stream)
        followed = self._followed.get(stream)
        if followed is None:
            followed = self._followed[stream] = _Followed(stream, after)
            followed.live[follower] = after
            followed.task = asyncio.create_task(self._run(followed))
        elif after >= followed.at:
            followed.live[follower] = after
            if after > followed.at:
                self._start_check(follower, stream, after)
        else:
            self._start_late(follower, stream, after)

    def _start_late(self, follower: Follower, stream: str, after: int) -> None:
        task = asyncio.create_task(self._catch_up(follower, stream, after))
        self._late[follower, stream] = task
        task.add_done_callback(lambda ended: self._caught_up(follower, stream, ended))

    def _caught_up(self, follower: Follower, stream: str, ended: asyncio.Task[None]) -> None:
        if self._late.get((follower, stream)) is ended:  # not a newer one that took its place
            del self._late[follower, stream]

    def _start_check(self, follower: Follower, stream: str, after: int) -> None:
        task = asyncio.create_task(self._check(follower, stream, after))
        self._checks[follower, stream] = task
        task.add_done_callback(lambda ended: self._checked(follower, stream, ended))

    def _checked(self, follower: Follower, stream: str, ended: asyncio.Task[None]) -> None:
        if self._checks.get((follower, stream)) is ended:
            del self._checks[follower, stream]

    def unfollow(self, follower: Follower, stream: str) -> None:
        check = self._checks.pop((follower, stream), None)
        if check is not None:
            check.cancel()
        late = self._late.pop((follower, stream), None)
        if late is not None:
            late.cancel()
        followed = self._followed.get(stream)
        if followed is not None and followed.live.pop(follower, None) is not None:
            self._leave_if_idle(followed)

    async def close(self) -> None:
        tasks = [followed.task for followed in self._followed.values() if followed.task]
        tasks += [*self._late.values(), *self._checks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._followed.clear()

    def _leave_if_idle(self, followed: _Followed) -> None:
        waits = any(stream == followed.stream for _, stream in self._late)
        if not followed.live and not waits and self._followed.get(followed.stream) is followed:
            del self._followed[followed.stream]
            if followed.task is not None and followed.task is not asyncio.current_task():
                followed.task.cancel()

    async def _run(self, followed: _Followed) -> None:
        """Follow the stream until its end, through restarts of the engine."""
        while self._followed.get(followed.stream) is followed:
            try:
                if await self._follow_once(followed):
                    return
            except StreamError as exc:
                self._end(followed, str(exc) or "there is no such stream, or its time is over")
                return
            except HeadgateError as exc:
                log.warning("following %s is interrupted: %s", followed.stream, exc)
            except Exception:
                log.exception("following %s failed; it is tried again", followed.stream)
            await self._sleep(PAUSE)

    async def _follow_once(self, followed: _Followed) -> bool:
        """Pass events on as they come; True after the terminal one."""
        streams = self._streams()
        if streams is None:
            return False
        async for event in streams.follow(followed.stream, followed.at):
            before, followed.at = followed.at, event.offset
            await self._pass_on(followed, event, before)
            if self._followed.get(followed.stream) is not followed:  # the last follower was cut by what it was told
                return True
            if event.terminal:
                self._followed.pop(followed.stream, None)
                return True
        return False

    async def _pass_on(self, followed: _Followed, event: Event, before: int) -> None:
        told = Told(followed.stream, event)
        conflated = event.kind == PROGRESS
        for number, (follower, after) in enumerate(list(followed.live.items()), 1):
            if event.offset > after or event.kind == "truncated":
                # One that does not keep up reads the log at its own pace instead of having it kept for it here.
                if not conflated and follower.behind() is not None:
                    self._fall_behind(followed, follower, max(after, before))
                else:
                    follower.event(told)
            if number % TURN == 0:
                await asyncio.sleep(0)

    def _fall_behind(self, followed: _Followed, follower: Follower, after: int) -> None:
        if followed.live.pop(follower, None) is not None:
            self._start_late(follower, followed.stream, after)

    def _end(self, followed: _Followed, reason: str) -> None:
        self._followed.pop(followed.stream, None)
        told = end(followed.stream, followed.at, reason)
        for follower in list(followed.live):
            follower.event(told)

    async def _check(self, follower: Follower, stream: str, after: int) -> None:
        """Tell one who is ahead of the others if there is no such place: the stream was made anew since it was there.

        It follows in the meantime. Without this it would hear nothing until the new stream has come that far.
        """
        while self._is_live(follower, stream):
            streams = self._streams()
            try:
                if streams is not None:
                    await streams.read(stream, after, 1)
                    return
            except StreamError as exc:
                del self._checks[follower, stream]  # unfollowing would cancel it
                if self._is_live(follower, stream):  # it may have got a terminal event, or read on by itself
                    self.unfollow(follower, stream)
                    follower.event(end(stream, after, str(exc)))
                return
            except HeadgateError as exc:
                log.warning("looking for an offset of %s is interrupted: %s", stream, exc)
            await self._sleep(PAUSE)

    def _is_live(self, follower: Follower, stream: str) -> bool:
        followed = self._followed.get(stream)
        return followed is not None and follower in followed.live

    async def _catch_up(self, follower: Follower, stream: str, after: int) -> None:
        """Read what the late one has missed, as fast as it takes it; then it joins the live ones without a gap."""
        while True:
            while (room := follower.behind()) is not None:
                await asyncio.shield(room)  # others wait for it too
            followed = self._followed.get(stream)
            if followed is None or after >= followed.at:
                break
            try:
                after = await self._read_some(follower, stream, after)
            except StreamError as exc:
                follower.event(end(stream, after, str(exc)))
                return
            except HeadgateError as exc:
                log.warning("catching up with %s is interrupted: %s", stream, exc)
                await self._sleep(PAUSE)
            if after < 0:
                return
        self._late.pop((follower, stream), None)
        self.follow(follower, stream, after)

    async def _read_some(self, follower: Follower, stream: str, after: int) -> int:
        """Pass on what the follower takes of one page; returns the offset reached, or -1 after the terminal event."""
        streams = self._streams()
        if streams is None:
            await self._sleep(PAUSE)
            return after
        batch = await streams.read(stream, after, PAGE)
        if batch.truncated:
            gap = Event(after, "truncated", {"reason": batch.truncated}, 0.0)
            follower.event(Told(stream, gap))
        for event in batch.events:
            follower.event(Told(stream, event))
            if event.terminal:
                return -1
            if follower.behind() is not None:
                return event.offset
        return batch.next
