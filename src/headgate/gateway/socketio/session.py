"""One Engine.IO session (protocol v4): its transport, its outbox, its pings. What it carries is the application's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from headgate.gateway import codes
from headgate.gateway.outbox import DROP, KEEP, Outbox, Overflow
from headgate.gateway.socketio.codec import Malformed, Parcel, frames_of, unpack
from headgate.gateway.socketio.moves import Poll, Probe
from headgate.gateway.wire import Wire, text_frame

MOST_PACKETS: Final = 256
"""Packets in one polling payload from a client."""
MOST_PAYLOAD: Final = 1024 * 1024
"""Bytes of one polling response, unless a single packet is larger."""
CLIENT, SERVER, PING_TIMEOUT, TRANSPORT_CLOSE, TRANSPORT_ERROR = (
    "client disconnect",
    "server disconnect",
    "ping timeout",
    "transport close",
    "transport error",
)
"""Why sessions end, in python-engineio's words: the app's disconnect handlers get them."""


class Terms(msgspec.Struct, frozen=True):
    """What holds for every session (seconds, bytes)."""

    ping_interval: float
    ping_timeout: float
    max_payload: int
    outbox_bytes: int
    outbox_age: float


class Application(Protocol):
    """What a session carries messages for."""

    def received(self, session: Session, data: str | bytes) -> None:
        """Raises `Malformed` to end the session."""

    def closed(self, session: Session, reason: str) -> None: ...

    def overflowed(self, session: Session) -> None:
        """Its client was too slow, and is being closed."""


class Session:
    """A session from its handshake to its end.

    Args:
        sid: of the session.
        terms, app: as their types say.
        loop: for its timers.
        scope: the handshake, encoded once.
        on_gone: called once when it is over.
    """

    __slots__ = (
        "_on_gone",
        "_outbox",
        "_poll",
        "_probe",
        "_timer",
        "address",
        "app",
        "closed",
        "confirmed",
        "data",
        "loop",
        "pinged_at",
        "scope",
        "sid",
        "terms",
        "wire",
    )

    def __init__(
        self,
        sid: str,
        terms: Terms,
        app: Application,
        loop: asyncio.AbstractEventLoop,
        scope: Any,
        on_gone: Callable[[Session], None],
    ) -> None:
        self.sid = sid
        self.terms = terms
        self.app = app
        self.loop = loop
        self.scope = scope
        self.wire: Wire | None = None
        self.closed = False
        self.data: Any = None
        """The application's."""
        self.address = ""
        self.pinged_at: Any = None
        self.confirmed: Any = None
        """What `mark` was at the last ping that the client has answered."""
        self._on_gone = on_gone
        self._outbox: Outbox | None = None
        self._poll: Poll | None = None
        self._probe: Probe | None = None
        self._timer: asyncio.TimerHandle = loop.call_later(terms.ping_interval, self._ping)

    @property
    def transport(self) -> str:
        return "polling" if self.wire is None else "websocket"

    @property
    def probing(self) -> bool:
        """A WebSocket is about to take it over."""
        return self._probe is not None

    # what it is sent

    def send(self, parcel: Parcel, *, droppable: bool = False) -> None:
        """Send a packet now, or keep it for the client to read or poll."""
        if self.closed:
            return
        wire = self.wire
        if wire is None:
            self._keep(parcel.polled, DROP if droppable else KEEP)
            self._answer_poll()
        elif not wire.blocked and self._outbox is None:
            wire.write(parcel.frames)
        else:
            self._keep(parcel.frames, DROP if droppable else KEEP)

    def _control(self, packet: bytes) -> None:
        """Send an Engine.IO packet of the gateway's own."""
        if self.wire is None:
            self._keep(packet, KEEP)
            self._answer_poll()
        elif not self.wire.blocked and self._outbox is None:
            self.wire.write(text_frame(packet))
        else:
            self._keep(text_frame(packet), KEEP)

    def _keep(self, data: bytes, kind: int) -> None:
        outbox = self._outbox
        if outbox is None:
            outbox = self._outbox = Outbox(self.terms.outbox_bytes, self.terms.outbox_age)
        try:
            outbox.push(data, kind, self.loop.time())
        except Overflow as exc:
            self.overflow(str(exc))

    def overflow(self, why: str) -> None:
        """More waits for the client than is kept for one."""
        if self.closed:
            return
        self._outbox = None
        self.app.overflowed(self)
        self.close(TRANSPORT_ERROR, codes.TOO_SLOW, f"too slow: {why}; connect again")

    @property
    def waiting_bytes(self) -> int:
        """Bytes that the client has not taken yet."""
        return (self._outbox.bytes if self._outbox is not None else 0) + (self.wire.buffered() if self.wire else 0)

    @property
    def dropped(self) -> int:
        return self._outbox.dropped if self._outbox is not None else 0

    def writable(self) -> None:
        """Of the wire: the client reads again."""
        outbox, wire = self._outbox, self.wire
        while outbox is not None and wire is not None and not wire.blocked and wire.open:
            item = outbox.pop()
            if item is None:
                self._outbox = None
                return
            wire.write(item[0])

    # polling

    def poll(self, poll: Poll) -> None:
        """A polling request came. A second one beside it ends the session (Engine.IO: one at a time)."""
        if self._poll is not None and self._poll.open:
            self._poll.answer(200, b"1")
            self.close(TRANSPORT_ERROR)
            poll.answer(400, b'"two polls at once"')
            return
        self._poll = poll
        if self._probe is not None and self._probe.probed:
            poll.answer(200, b"6")
            return
        self._answer_poll()

    def posted(self, payload: str) -> None:
        """A polling client sent packets. Raises `Malformed`, after the session's end."""
        try:
            for packet in unpack(payload, MOST_PACKETS):
                if self.closed:
                    return
                self._packet(packet)
        except Malformed:
            self.close(TRANSPORT_ERROR)
            raise

    def _answer_poll(self) -> None:
        poll, outbox = self._poll, self._outbox
        if poll is None or outbox is None or not poll.open or (self._probe is not None and self._probe.probed):
            return
        parts, size = [], 0
        while size < MOST_PAYLOAD and (item := outbox.pop()) is not None:
            parts.append(item[0])
            size += len(item[0]) + 1
        if not len(outbox):
            self._outbox = None
        if parts:
            self._poll = None
            poll.answer(200, b"\x1e".join(parts))

    # what the client sends

    def message(self, data: str | bytes) -> None:
        """Of the wire."""
        try:
            self._packet(data)
        except Malformed as exc:
            self.close(TRANSPORT_ERROR, codes.BAD_DATA, str(exc))

    def ended(self, code: int, reason: str) -> None:
        """Of the wire: it is over."""
        self.close(TRANSPORT_CLOSE)

    def _packet(self, packet: str | bytes) -> None:
        if isinstance(packet, bytes):
            self.app.received(self, packet)
            return
        kind = packet[:1]
        if kind == "4":
            self.app.received(self, packet[1:])
        elif kind == "3":
            self.confirmed = self.pinged_at
            self._after(self.terms.ping_interval, self._ping)
        elif kind == "1":
            if self.wire is None and self._poll is not None:
                self._poll.answer(200, b"6")
            self.close(CLIENT)
        elif kind == "2" and packet == "2":  # no client of v4 pings, but the answer costs nothing
            self._control(b"3")
        elif kind not in ("5", "6"):
            raise Malformed("an unknown Engine.IO packet")

    # the move to WebSocket

    def probe(self, wire: Wire) -> bool:
        """A WebSocket wants to take the session over; False if there is one already."""
        if self.closed or self.wire is not None or self._probe is not None:
            return False
        self._probe = Probe(self, wire)
        wire.peer = self._probe
        return True

    def probed(self) -> None:
        """The WebSocket works: the poll that waits ends, so that the client can pause polling."""
        if self._poll is not None:
            self._poll.answer(200, b"6")
            self._poll = None

    def upgraded(self, wire: Wire) -> None:
        """From here on everything goes over the WebSocket."""
        self.probed()
        self._probe = None
        self.attach(wire)
        outbox, self._outbox = self._outbox, None
        while outbox is not None and (item := outbox.pop()) is not None:
            data = frames_of(item[0])
            if wire.blocked or self._outbox is not None:
                self._keep(data, KEEP)
            else:
                wire.write(data)

    def probe_failed(self) -> None:
        self._probe = None
        self._answer_poll()

    def attach(self, wire: Wire) -> None:
        self.wire = wire
        wire.peer = self

    # life

    def mark(self) -> Any:
        """What the application wants remembered of the moment of a ping."""
        marker = getattr(self.app, "mark", None)
        return marker() if marker is not None else None

    def _ping(self) -> None:
        self.pinged_at = self.mark()
        if self.wire is not None and not self.wire.reading:  # we do not read: we cannot ask for an answer
            self._after(self.terms.ping_interval, self._ping)
            return
        self._control(b"2")
        self._after(self.terms.ping_timeout, self._silent)

    def _silent(self) -> None:
        if self.wire is not None and not self.wire.reading:  # the answer may lie in what we have not read
            self._after(self.terms.ping_timeout, self._silent)
            return
        self.close(PING_TIMEOUT)

    def _after(self, seconds: float, function: Callable[[], None]) -> None:
        self._timer.cancel()
        if not self.closed:
            self._timer = self.loop.call_later(seconds, function)

    def check(self) -> None:
        """Give up a client that has not read for too long."""
        if self._outbox is not None and self.wire is not None:
            try:
                self._outbox.check(self.loop.time())
            except Overflow as exc:
                self.overflow(str(exc))

    def part(self) -> None:
        """It lives on another gateway from now on."""
        self.closed = True
        self._timer.cancel()
        if self._poll is not None:
            self._poll.answer(200, b"6")
        self.wire = None

    def close(self, reason: str, code: int = codes.NORMAL, told: str = "") -> None:
        """End it: the application hears `reason`, a WebSocket client `code` and `told`."""
        if self.closed:
            return
        self.closed = True
        self._timer.cancel()
        if self._poll is not None:
            self._poll.answer(200, b"1")
        if self._probe is not None:
            self._probe.wire.close(codes.NORMAL)
        if self.wire is not None:
            if reason == SERVER and self._outbox is None and self.wire.open:
                self.wire.write(text_frame(b"1"))
            self.wire.close(code, told)
        self._outbox = None
        self._on_gone(self)
        self.app.closed(self, reason)
