"""One client's open WebSocket as the gateway knows it: its outbox, its channels, and what it follows.

What is the same for native sockets and for loop sockets is here; what its messages do is in `native` and `loops`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Protocol

import msgspec

from headgate.gateway import codes
from headgate.gateway.channels import Channels
from headgate.gateway.events import Peek
from headgate.gateway.exchange import Exchange
from headgate.gateway.follows import PROGRESS, Follows, Told
from headgate.gateway.limits import Bucket
from headgate.gateway.outbox import DROP, KEEP, LATEST, Outbox, Overflow, TooOld
from headgate.gateway.resume import Capabilities
from headgate.gateway.wire import Wire, data_frame, text_frame
from headgate.link.messages import Effect

log = logging.getLogger("headgate.gateway")

DROP_OLDEST: Final = "drop"
KEEP_LATEST: Final = "latest"
SLOW: Final = (DROP_OLDEST, KEEP_LATEST, "close")
"""What becomes of a channel's messages for a client that is slow: the oldest give way, all but the newest do, or none
does and the client is closed with 4008 when they do not fit."""
MOST_CHANNELS: Final = 1000
MUCH: Final = 64 * 1024
"""Unread bytes from which on a connection's streams wait in the log, not here."""
MOST_FOLLOWED: Final = 200
"""Channels and streams of one connection: a handler that joins in a loop is told in the log."""


class Shared(Protocol):
    """What a connection needs of those who keep all of them."""

    exchange: Exchange
    channels: Channels
    follows: Follows
    now: Callable[[], float]
    inbox: int
    """Messages that may wait on one connection."""
    waiting: set[Connection]
    """Connections with an outbox."""
    limited: Counter[str]
    """How often each bound was reached, by its setting."""
    closed_slow: int
    dropped: int

    capabilities: Capabilities | None

    def new_outbox(self, connection: Connection) -> Outbox: ...

    def forget(self, connection: Connection) -> None: ...

    def peek(self, fields: Any) -> Peek: ...

    def new_bucket(self) -> Bucket | None: ...


class Connection:
    """An accepted WebSocket.

    Args:
        sockets: all of them, and what they share.
        id: what app workers call it.
        scope: the handshake, encoded once.
    """

    __slots__ = (
        "_bucket",
        "_channels",
        "_closing",
        "_follows",
        "_outbox",
        "_room",
        "address",
        "id",
        "key",
        "scope",
        "session",
        "sockets",
        "wire",
    )

    wire: Wire

    def __init__(self, sockets: Shared, id: str, scope: msgspec.Raw) -> None:
        self.sockets = sockets
        self.id = id
        self.scope = scope
        self._outbox: Outbox | None = None
        self._room: asyncio.Future[None] | None = None
        self._channels: dict[str, str] | None = None
        self._follows: set[str] | None = None
        self._closing: tuple[int, str] | None = None
        self._bucket = sockets.new_bucket()
        self.address = ""
        """The client's, where sockets are counted per address."""
        self.key = ""
        """The app's, where sockets are counted per key."""
        self.session = ""

    # what it is sent

    def post(self, frame: bytes, kind: int = KEEP, key: str | None = None, credit: int = 0) -> None:
        """Send a frame now, or let it wait for the client to read."""
        wire, outbox = self.wire, self._outbox
        if not wire.open or self._closing is not None:
            return
        if not wire.blocked and outbox is None:
            wire.write(frame)
            if credit:
                self.sent(credit)
            return
        if outbox is None:
            outbox = self._outbox = self.sockets.new_outbox(self)
        try:
            outbox.push(frame, kind, self.sockets.now(), key, credit)
        except Overflow as exc:
            self.too_slow(exc)

    def send(self, data: str | bytes) -> None:
        """A message that must arrive."""
        self.post(data_frame(data))

    def json(self, value: Any) -> None:
        """A value as JSON text that must arrive."""
        self.post(text_frame(msgspec.json.encode(value, enc_hook=str)))

    def published(self, frame: bytes, channel: str = "") -> None:
        """A channel's message; what becomes of it when the client is slow was said when it joined."""
        slow = (self._channels or {}).get(channel, DROP_OLDEST)
        if slow == DROP_OLDEST:
            self.post(frame, DROP)
        elif slow == KEEP_LATEST:
            self.post(frame, LATEST, f"channel {channel}")
        else:
            self.post(frame, KEEP)

    def event(self, told: Told) -> None:
        """A followed stream's event: of progress only the newest waits."""
        event = told.event
        if event.terminal and self._follows is not None:
            self._follows.discard(told.stream)
        self.post(told.frame, LATEST if event.kind == PROGRESS else KEEP, told.stream)

    def behind(self) -> Awaitable[None] | None:
        """What ends when the client has read what waits for it, if that is much."""
        if self._outbox is None or self._outbox.bytes < MUCH:
            return None
        if self._room is None:
            self._room = asyncio.get_running_loop().create_future()
        return self._room

    def sent(self, credit: int) -> None:
        """Bytes that had credit went out."""

    def writable(self) -> None:
        """The client reads again: send what waits."""
        outbox, wire = self._outbox, self.wire
        while outbox is not None and not wire.blocked and wire.open:
            item = outbox.pop()
            if item is None:
                self._drop_outbox()
                if self._closing is not None:
                    wire.close(*self._closing)
                return
            wire.write(item[0])
            if item[1]:
                self.sent(item[1])

    def dropped(self) -> int:
        """Channel messages given up since the client began to be slow."""
        return self._outbox.dropped if self._outbox is not None else 0

    def check(self, now: float) -> None:
        """Give up a client that has not read for too long."""
        if self._outbox is not None:
            try:
                self._outbox.check(now)
            except Overflow as exc:
                self.too_slow(exc)

    def too_slow(self, why: Overflow) -> None:
        """It cannot be served without keeping more for it than the bounds allow."""
        self.sockets.closed_slow += 1
        self.sockets.limited["outbox_age" if isinstance(why, TooOld) else "outbox_bytes"] += 1
        self._drop_outbox()
        self.wire.close(codes.TOO_SLOW, f"too slow: {why}; connect again and resume")

    def close(self, code: int, reason: str = "") -> None:
        """End it, after what waits has been sent."""
        if self._outbox is not None and self.wire.open:
            self._closing = self._closing or (code, reason)
        else:
            self.wire.close(code, reason)

    def evict(self, code: int, reason: str) -> None:
        """End it without waiting for the client to read."""
        self._drop_outbox()
        self.wire.close(code, reason)

    # effects

    def apply(self, effects: Iterable[Effect]) -> None:
        """Do what a handler asked for, in order."""
        for effect in effects:
            if not self.wire.open:
                return
            try:
                self._apply(effect.kind, effect.data)
            except (TypeError, ValueError, AttributeError) as exc:
                log.warning("an effect %r on connection %s has unfit data: %s", effect.kind, self.id, exc)

    def _apply(self, kind: str, data: Any) -> None:
        match kind:
            case "send":
                self.send(data)
            case "json":
                self.json(data)
            case "state":
                self.keep_state(data)
            case "join":
                channel, slow = (data, DROP_OLDEST) if isinstance(data, str) else data
                self.join(channel, slow)
            case "leave":
                self.leave(data)
            case "follow":
                stream, after = data
                self.follow(stream, int(after))
            case "unfollow":
                self.unfollow(data)
            case "close":
                code, reason = data
                self.close(code, reason)
            case _:
                log.warning("effect %r is unknown to this gateway", kind)

    def keep_state(self, state: dict[str, Any]) -> None:
        """Replace the state that goes with each message (native sockets only)."""

    def join(self, channel: str, slow: str = DROP_OLDEST) -> None:
        """Get what is published to a channel; a second call changes what happens while the client is slow."""
        if slow not in SLOW:
            raise ValueError(f"{slow!r} is none of {', '.join(SLOW)}")
        joined = self._channels = self._channels if self._channels is not None else {}
        if channel in joined:
            joined[channel] = slow
            return
        if len(joined) >= MOST_CHANNELS:
            log.warning("connection %s has joined %d channels, the bound; not %r", self.id, MOST_CHANNELS, channel)
            return
        joined[channel] = slow
        self.sockets.channels.join(self, channel)

    def leave(self, channel: str) -> None:
        if self._channels is not None and channel in self._channels:
            del self._channels[channel]
            self.sockets.channels.leave(self, channel)

    def follow(self, stream: str, after: int) -> bool:
        """Follow a stream; False at the bound."""
        followed = self._follows = self._follows if self._follows is not None else set()
        if stream not in followed and len(followed) >= MOST_FOLLOWED:
            log.warning("connection %s follows %d streams, the bound; not %r", self.id, MOST_FOLLOWED, stream)
            return False
        followed.add(stream)
        self.announce(stream)
        self.sockets.follows.follow(self, stream, after)
        return True

    def announce(self, stream: str) -> None:
        """Tell the client how it can come back to a stream, before the first event of it."""

    def unfollow(self, stream: str) -> None:
        if self._follows is not None and stream in self._follows:
            self._follows.discard(stream)
            self.sockets.follows.unfollow(self, stream)

    # its end

    def message(self, data: str | bytes) -> None:
        """The client sent a message."""
        raise NotImplementedError

    def lost_worker(self) -> None:
        """The app worker that held its loop is gone."""

    def ended(self, code: int, reason: str) -> None:
        """The connection is over: nothing can be sent, and nothing of it is kept."""
        if code == codes.TOO_BIG:
            self.sockets.limited["max_message"] += 1
        self._drop_outbox()
        for channel in list(self._channels or ()):
            self.leave(channel)
        for stream in list(self._follows or ()):
            self.unfollow(stream)
        self.over(code, reason)

    def over(self, code: int, reason: str) -> None:
        """Tell the app, and be forgotten."""
        raise NotImplementedError

    def _drop_outbox(self) -> None:
        if self._outbox is not None:
            self.sockets.dropped += self._outbox.dropped
            self._outbox.clear()
            self._outbox = None
            self.sockets.waiting.discard(self)
            room, self._room = self._room, None
            if room is not None and not room.done():
                room.set_result(None)
