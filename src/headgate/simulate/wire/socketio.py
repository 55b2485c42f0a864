"""Socket.IO (protocol 5 on Engine.IO 4) for a simulated user, over WebSocket.

Packet formats: github.com/socketio/socket.io-protocol and engine.io-protocol. Engine.IO: a digit
(0 open, 1 close, 2 ping, 3 pong, 4 message) and the payload. Socket.IO within a message: a digit
(0 connect, 1 disconnect, 2 event, 3 ack, 4 connect error, 5 and 6 with binary parts), the number of
binary parts and "-", the namespace and ",", the acknowledgement's id, and JSON.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

from headgate.simulate.errors import TargetError
from headgate.simulate.wire.port import Sink, WireOptions
from headgate.simulate.wire.websocket import WebSocketWire

_PACKET: Final = re.compile(r"([0-6])(?:(\d+)-)?(?:(/[^,]*),)?(\d+)?(.*)", re.DOTALL)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class Emit:
    """An event to send; with `ack`, the server is asked to acknowledge it."""

    event: str
    args: Sequence[Any] = ()
    ack: bool = False


@dataclass(frozen=True, slots=True)
class SocketIoMessage:
    """A received event, or the acknowledgement of the click `id`."""

    kind: Literal["event", "ack"]
    name: str
    args: list[Any]
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """Where a Socket.IO server answers: the target's path is the namespace."""

    target: str
    path: str
    transport: str
    auth: Any = None

    @property
    def namespace(self) -> str:
        return urlsplit(self.target).path or "/"

    def url(self, sid: str | None = None) -> str:
        """The Engine.IO URL of the transport."""
        parts = urlsplit(self.target)
        secure = parts.scheme in ("wss", "https")
        scheme = ("wss" if secure else "ws") if self.transport == "websocket" else ("https" if secure else "http")
        query = f"EIO=4&transport={self.transport}" + (f"&sid={quote(sid)}" if sid else "")
        return urlunsplit((scheme, parts.netloc, f"/{self.path.strip('/')}/", query, ""))


class Session:
    """The Socket.IO conversation, whatever carries it: packets in, packets and messages out.

    Args:
        address: where, and as whom.
        send: takes an Engine.IO packet.
        deliver: takes a message for the user.
    """

    def __init__(
        self, address: Address, send: Callable[[str], None], deliver: Callable[[SocketIoMessage, float], None]
    ) -> None:
        self._namespace = "" if address.namespace == "/" else f"{address.namespace},"
        self._auth = address.auth
        self._send = send
        self._deliver = deliver
        self._partial: tuple[str, int | None, list[Any], int, list[bytes]] | None = None
        self.connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sid = ""
        self.upgrades: list[str] = []
        self.left = False

    def packet(self, data: str | bytes, at: float) -> None:
        """An Engine.IO packet came; bytes are a binary part of the event before."""
        if isinstance(data, bytes):
            self._binary(data, at)
            return
        kind, rest = data[:1], data[1:]
        if kind == "0":
            offer = _decode(rest)
            self.sid, self.upgrades = str(offer["sid"]), list(offer.get("upgrades", ()))
            self._send(f"40{self._namespace}{_encode(self._auth).decode() if self._auth is not None else ''}")
        elif kind == "2":
            self._send(f"3{rest}")
        elif kind == "1":
            self.left = True
        elif kind == "4":
            self._message(rest, at)

    def emit(self, message: Any, click_id: int | None) -> None:
        """Send an event."""
        if isinstance(message, Emit):
            event, args, ack = message.event, list(message.args), message.ack
        elif isinstance(message, list | tuple) and message:
            event, args, ack = str(message[0]), list(message[1:]), click_id is not None
        else:
            raise TypeError(f"a Socket.IO click must be an Emit or [event, …], not {type(message).__name__}")
        number = str(click_id) if ack and click_id is not None else ""
        self._send(f"42{self._namespace}{number}{_encode([event, *args]).decode()}")

    def leave(self) -> None:
        """Say goodbye."""
        self._send(f"41{self._namespace}")
        self._send("1")

    def _message(self, text: str, at: float) -> None:
        match = _PACKET.fullmatch(text)
        if match is None:
            return
        kind, parts, _, number, body = match.groups()
        ack = int(number) if number else None
        if kind == "0" and not self.connected.done():
            self.connected.set_result(None)
        elif kind == "4" and not self.connected.done():
            self.connected.set_exception(TargetError(f"the Socket.IO server refused the connection: {body[:200]}"))
        elif kind == "1":
            self.left = True
        elif kind in "2356" and body:
            args = _decode(body)
            if kind in "56" and parts and int(parts):
                self._partial = (kind, ack, args, int(parts), [])
            else:
                self._finish(kind, ack, args, at)

    def _binary(self, data: bytes, at: float) -> None:
        if self._partial is None:
            return
        kind, ack, args, wanted, parts = self._partial
        parts.append(data)
        if len(parts) == wanted:
            self._partial = None
            self._finish(kind, ack, _filled(args, parts), at)

    def _finish(self, kind: str, ack: int | None, args: list[Any], at: float) -> None:
        if kind in "36":
            self._deliver(SocketIoMessage("ack", "", args, ack), at)
        elif args:
            self._deliver(SocketIoMessage("event", str(args[0]), args[1:], ack), at)


def _filled(value: Any, parts: list[bytes]) -> Any:
    """Put binary parts where their placeholders are."""
    if isinstance(value, list):
        return [_filled(item, parts) for item in value]
    if isinstance(value, dict):
        if value.get("_placeholder"):
            return parts[value["num"]]
        return {key: _filled(item, parts) for key, item in value.items()}
    return value


class SocketIoWire:
    """Socket.IO over a WebSocket from the first byte."""

    def __init__(self, options: WireOptions, address: Address, sink: Sink) -> None:
        self._sink = sink
        self._timeout = options.timeout
        self._inner = WebSocketWire(replace(options, url=address.url()), self)
        self._session = Session(address, self._inner.send, sink.received)
        self._open = False

    async def open(self) -> None:
        await self._inner.open()
        try:
            async with asyncio.timeout(self._timeout):
                await self._session.connected
        except TimeoutError:
            self._inner.abort()
            raise TargetError(
                f"the Socket.IO server did not accept the connection within {self._timeout:g} s"
            ) from None
        except TargetError:
            self._inner.abort()
            raise
        self._open = True

    def send(self, message: Any, click_id: int | None = None) -> None:
        self._session.emit(message, click_id)

    def close(self) -> None:
        self._session.leave()
        self._inner.close()

    def abort(self) -> None:
        self._inner.abort()

    def pause(self) -> None:
        self._inner.pause()

    def resume(self) -> None:
        self._inner.resume()

    # Sink of the WebSocket

    def received(self, message: Any, at: float) -> None:
        self._session.packet(message, at)
        if self._session.left and self._open:
            self._inner.close()

    def closed(self, code: int, reason: str) -> None:
        if not self._session.connected.done():
            self._session.connected.set_exception(
                TargetError(f"the server closed the WebSocket before the Socket.IO connection (code {code})")
            )
        elif self._open:
            self._sink.closed(code, reason or ("the server disconnected the namespace" if self._session.left else ""))
