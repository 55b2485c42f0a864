"""One client's WebSocket: an asyncio shell around the sans-I/O protocol of `websockets` (RFC 6455).

uvicorn's own shell keeps a task and a queue per socket and stops reading after each message, so that a pong
behind an unread message is not seen. This one calls its peer directly, holds no task, and hands over frames
that were encoded once for many connections.
"""

from __future__ import annotations

import asyncio
import codecs
import logging
from collections.abc import Callable
from typing import Final, Protocol, cast

from websockets.frames import Close, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from headgate.gateway import codes
from headgate.gateway.deflate import Deflate, agreed
from headgate.gateway.frames import binary_frame as binary_frame
from headgate.gateway.frames import close_frame
from headgate.gateway.frames import data_frame as data_frame
from headgate.gateway.frames import text_frame as text_frame
from headgate.gateway.noted import Noted

CLOSE_TIMEOUT: Final = 5.0
"""Seconds for the client to answer a close, or to take what is still unsent."""
FAIL_TIMEOUT: Final = 1.0
"""Seconds for a client that broke the protocol to see why before the connection is cut."""
SURPLUS: Final = 1024 * 1024
"""Bytes read from a client after its end was told to it; beyond them TCP holds it back until it is cut."""
HIGH_WATER: Final = 64 * 1024
"""Bytes in the socket's own buffer at which frames begin to wait in the outbox."""
_NOTED: Final = Noted(logging.getLogger("headgate.gateway"))
_QUIET: Final = logging.getLogger("headgate.gateway.websocket")
_QUIET.setLevel(logging.CRITICAL)  # what clients do wrong is told to them, not to the log


class Peer(Protocol):
    """Who gets what the client sends."""

    def message(self, data: str | bytes) -> None: ...

    def writable(self) -> None:
        """The socket takes frames again."""

    def ended(self, code: int, reason: str) -> None:
        """Called once: the client closed, broke the protocol or is gone, or `close` was called."""


class _Nobody:
    """In a peer's place: of a WebSocket that is turned away, or gone."""

    def message(self, data: str | bytes) -> None: ...

    def writable(self) -> None: ...

    def ended(self, code: int, reason: str) -> None: ...


NOBODY: Final = _Nobody()


def new_protocol(max_message: int, deflate: Deflate | None = None) -> ServerProtocol:
    """The sans-I/O state of one connection.

    Args:
        max_message: bytes; a message over it, also when it is that large only once it is inflated, is a 1009.
        deflate: how compression is offered; None does not.
    """
    extensions = deflate.factories() if deflate is not None else None
    return ServerProtocol(state=OPEN, max_size=max_message, logger=_QUIET, extensions=extensions)


class Wire(asyncio.Protocol):
    """An open WebSocket, after its handshake was accepted.

    Args:
        transport: of the connection, taken over from the HTTP protocol.
        proto: in the state OPEN, its handshake done.
        peer: who gets the messages.
        on_lost: called once when the TCP connection is gone.
    """

    __slots__ = (
        "_checker",
        "_close_timer",
        "_deflater",
        "_dropping",
        "_ended",
        "_on_lost",
        "_parts",
        "_pong",
        "_proto",
        "_surplus",
        "_text",
        "_transport",
        "blocked",
        "failed",
        "heard",
        "peer",
        "pinged",
        "reading",
    )

    def __init__(
        self, transport: asyncio.Transport, proto: ServerProtocol, peer: Peer, on_lost: Callable[[Wire], None]
    ) -> None:
        self._transport = transport
        self._proto = proto
        self._on_lost = on_lost
        self._deflater = agreed(proto.extensions)
        self._parts: bytearray | None = None
        self._checker: codecs.IncrementalDecoder | None = None
        self._text = False
        self._dropping = False
        self._surplus = 0
        self._pong: bytes | None = None
        self._ended = False
        self._close_timer: asyncio.TimerHandle | None = None
        self.peer = peer
        self.failed = 0
        """The close code of a client that broke the protocol or a bound; 0 while it has not."""
        self.blocked = False
        """The socket's buffer is full: frames have to wait."""
        self.heard = True
        """Something came since the last ping."""
        self.pinged = 0.0
        """When the ping was sent that is not answered yet (loop time), or 0."""
        self.reading = True
        transport.set_write_buffer_limits(high=HIGH_WATER)

    @property
    def open(self) -> bool:
        return not self._ended

    def buffered(self) -> int:
        """Bytes that the client has not taken from the socket's own buffer."""
        return self._transport.get_write_buffer_size()

    @property
    def transport(self) -> asyncio.Transport:
        return self._transport

    @property
    def unread(self) -> bytes:
        """What was received and is no whole frame yet."""
        return bytes(self._proto.reader.buffer)

    def part(self) -> None:
        """Let go of the connection, whose descriptor somebody else has now. The peer is not told."""
        self._ended = True
        self._transport.abort()

    @property
    def whole(self) -> bool:
        """Whether no message is half read."""
        return self._parts is None

    def write(self, frame: bytes) -> None:
        """Send a frame made by `text_frame` or `binary_frame`."""
        if not self._ended:
            self._transport.write(frame if self._deflater is None else self._deflater(frame))

    def ping(self, now: float) -> None:
        """Ask for a sign of life; `heard` turns true with the next thing that comes."""
        if not self._ended and not self.blocked:
            self._transport.write(b"\x89\x00")
        self.heard = False
        self.pinged = now

    def close(self, code: int, reason: str = "") -> None:
        """End the connection with a close frame, and without one after `CLOSE_TIMEOUT`."""
        if self._ended:
            return
        if self._proto.state is OPEN:  # a bad frame later in the same bytes may have ended it already
            self._proto.send_close(codes.said(code), _short(reason))
        self._flush()
        self._await_close()
        self._end(code, reason)

    def fail(self, code: int, reason: str) -> None:
        """End the connection of a client that broke the protocol: told why, and not listened to any more.

        RFC 6455 §7.1.7: the server ends TCP at once. What the client sends still is unread bytes to the kernel, and
        closing on those would reset the connection before the client has seen the close frame; so only our
        side is closed, and the rest is dropped within bounds.
        """
        if self._ended:
            return
        if self._proto.state is OPEN:
            self._proto.send_close(codes.said(code), _short(reason))
        self._flush()
        self._dropping, self.failed = True, code
        if code == codes.TOO_BIG:
            _NOTED.warn(
                "too_big",
                "a client sent a message of more than %s bytes, the setting max_message: closed with 1009",
                self._proto.max_message_size,
            )
        self._await_close(FAIL_TIMEOUT)
        self._end(code, reason)
        if self._transport.is_closing():
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    def pause(self) -> None:
        """Read no more until `resume`: TCP then holds the client back."""
        if self.reading and not self._transport.is_closing():
            self.reading = False
            self._transport.pause_reading()

    def resume(self) -> None:
        if not self.reading:
            self.reading = True
            self.heard = True
            if not self._transport.is_closing():
                self._transport.resume_reading()

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        proto = self._proto
        self.heard = True
        if self._ended and self._too_much(len(data)):
            return
        proto.receive_data(data)
        for frame in proto.events_received():
            opcode = frame.opcode  # type: ignore[union-attr]  # after the handshake all events are frames
            if opcode is Opcode.TEXT or opcode is Opcode.BINARY or opcode is Opcode.CONT:
                self._data(opcode, cast(bytes, frame.data), frame.fin)  # type: ignore[union-attr]
        if proto.parser_exc is not None and proto.close_rcvd is not None and not self._ended:
            self._answer_close(proto.close_rcvd)
            return
        if proto.writes:
            self._flush()
        if proto.parser_exc is not None and not self._ended:
            sent = proto.close_sent
            self.fail(sent.code if sent else codes.ABNORMAL, sent.reason if sent else "")
        elif proto.close_rcvd is not None:
            self._finish(proto.close_rcvd.code, proto.close_rcvd.reason)

    def eof_received(self) -> bool:
        return False  # a client that has closed its side gets no more: the transport closes

    def pause_writing(self) -> None:
        self.blocked = True

    def resume_writing(self) -> None:
        self.blocked = False
        if self._pong is not None:
            pong, self._pong = self._pong, None
            self._transport.write(pong)
        if not self._ended:
            self.peer.writable()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
        self._end(codes.ABNORMAL, "")
        self._on_lost(self)
        # What refers back to this wire is given up: it need not wait for the collector, which comes seldom here.
        self.peer = NOBODY
        self._proto.parser.close()
        self._proto.parser_exc = None  # its traceback has the parser's frames, and these the protocol

    def _too_much(self, size: int) -> bool:
        """Whether what came after the end is to be dropped; a flood is not even read."""
        self._surplus += size
        if self._surplus > SURPLUS and self.reading:
            self.pause()
        return self._dropping

    def _data(self, opcode: Opcode, data: bytes, fin: bool) -> None:
        if self._ended:
            return
        if opcode is not Opcode.CONT:
            self._text = opcode is Opcode.TEXT
            self._checker = _UTF8() if self._text and not fin else None
        if self._checker is not None and not self._valid(data, fin):
            return
        if fin and self._parts is None:
            self._message(data)
            return
        if self._parts is None:
            self._parts = bytearray()
        self._parts += data  # however small the fragments, they cost no more than the message
        if fin:
            whole, self._parts = bytes(self._parts), None
            self._message(whole)

    def _valid(self, data: bytes, fin: bool) -> bool:
        """Whether a fragment goes on as UTF-8: one that does not is not waited for to its end (RFC 6455 §8.1)."""
        assert self._checker is not None
        try:
            self._checker.decode(data, fin)
        except UnicodeDecodeError:
            self.fail(codes.BAD_DATA, "a text message that is not UTF-8")
            return False
        return True

    def _message(self, data: bytes) -> None:
        if not self._text:
            self.peer.message(bytes(data))
            return
        try:
            text = str(data, "utf-8")
        except UnicodeDecodeError:
            self.fail(codes.BAD_DATA, "a text message that is not UTF-8")
            return
        self.peer.message(text)

    def _flush(self) -> None:
        """Send what the protocol has to say: pongs, and the close frame."""
        out = [part for part in self._proto.data_to_send() if part]
        if not out:
            return
        if self.blocked and out[-1][0] == 0x8A:  # a flood of pings from one who does not read: the last is answered
            self._pong = out[-1]
            return
        self._transport.write(b"".join(out))

    def _answer_close(self, received: Close) -> None:
        """A close frame within a fragmented message: a client may give a message up (RFC 6455 §5.5.1).

        websockets takes it for a broken message, and has a frame ready that says so.
        """
        self._proto.data_to_send()
        self._transport.write(close_frame(b"" if received.code == codes.NO_CODE else received.serialize()))
        self._finish(received.code, received.reason)

    def _finish(self, code: int, reason: str) -> None:
        """The client's close frame is here and answered: TCP is ours to end (RFC 6455 §7.1.1)."""
        self._end(code, reason)
        self._await_close()
        if not self._transport.is_closing():
            self._transport.close()

    def _await_close(self, seconds: float = CLOSE_TIMEOUT) -> None:
        if self._close_timer is None:
            self._close_timer = asyncio.get_running_loop().call_later(seconds, self._transport.abort)
        if not self.reading:
            self.resume()

    def _end(self, code: int, reason: str) -> None:
        if not self._ended:
            self._ended = True
            self._parts = None
            self.peer.ended(code, reason)


_UTF8: Final = codecs.getincrementaldecoder("utf-8")


def _short(reason: str) -> str:
    """A close reason of at most 123 bytes (RFC 6455 §5.5)."""
    raw = reason.encode("utf-8", "replace")
    return reason if len(raw) <= 123 else raw[:120].decode("utf-8", "ignore") + "…"
