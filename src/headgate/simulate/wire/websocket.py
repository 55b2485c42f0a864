"""A lean WebSocket client: websockets' sans-I/O protocol (RFC 6455) in an asyncio protocol.

The library's own asyncio client runs two tasks and a queue per connection. A load generator with
10,000 users has no use for them: a message goes to its user in the call that read its bytes.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final, cast
from urllib.parse import urlsplit

import msgspec
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import CONNECTING, OPEN
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from headgate.simulate.errors import TargetError
from headgate.simulate.wire.port import Sink, WireOptions

GOODBYE_SECONDS: Final = 5.0
LARGEST_MESSAGE: Final = 64 * 1024 * 1024
_encode = msgspec.json.Encoder().encode


class WebSocketWire(asyncio.Protocol):
    """One WebSocket connection.

    Args:
        options: target and limits, shared.
        sink: the user.
    """

    def __init__(self, options: WireOptions, sink: Sink) -> None:
        self._options = options
        self._sink = sink
        self._ws = ClientProtocol(
            parse_uri(options.url),
            subprotocols=[Subprotocol(name) for name in options.subprotocols] or None,
            max_size=LARGEST_MESSAGE,
        )
        self._transport: asyncio.Transport | None = None
        self._shaken: asyncio.Future[None] | None = options.loop.create_future()
        self._parts: list[bytes] = []
        self._text = True
        self._opened = False

    async def open(self) -> None:
        options = self._options
        parts = urlsplit(options.url)
        tls = options.tls if parts.scheme == "wss" else None
        host = parts.hostname or "127.0.0.1"
        port = parts.port or (443 if tls else 80)
        sock = await options.sources.connect(host, port, options.timeout)
        shaken = self._shaken
        assert shaken is not None
        try:
            async with asyncio.timeout(options.timeout):
                await options.loop.create_connection(
                    lambda: self, sock=sock, ssl=tls, server_hostname=host if tls else None
                )
                await shaken
        except TimeoutError:
            self.abort()
            raise TargetError(
                f"{host}:{port} accepted the connection but did not answer the WebSocket"
                f" handshake within {options.timeout:g} s"
            ) from None
        except OSError as error:
            self.abort()
            raise TargetError(f"{host}:{port} broke the connection: {error}") from None
        finally:
            self._shaken = None

    def send(self, message: Any, click_id: int | None = None) -> None:
        """Send str as text, bytes as binary, anything else as JSON text. A closed wire swallows it."""
        if self._ws.state is not OPEN or self._transport is None:
            return
        if isinstance(message, bytes):
            self._ws.send_binary(message)
        elif isinstance(message, str):
            self._ws.send_text(message.encode())
        else:
            self._ws.send_text(_encode(message))
        self._flush()

    def close(self) -> None:
        if self._ws.state is OPEN and self._transport is not None:
            self._ws.send_close(1000)
            self._flush()
            self._options.loop.call_later(GOODBYE_SECONDS, self.abort)
        else:
            self.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)
        request = self._ws.connect()
        for name, value in self._options.headers.items():
            request.headers[name] = value
        self._ws.send_request(request)
        self._flush()

    def data_received(self, data: bytes) -> None:
        at = time.monotonic()
        self._ws.receive_data(data)
        for event in self._ws.events_received():
            if isinstance(event, Frame):
                self._frame(event, at)
            elif isinstance(event, Response):
                self._handshake()
        self._handshake_failed()
        self._flush()

    def eof_received(self) -> None:
        self._ws.receive_eof()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ws.receive_eof()
        self._handshake_failed()
        self._transport = None
        if self._shaken is not None and not self._shaken.done():
            self._shaken.set_exception(TargetError("the server closed the connection during the WebSocket handshake"))
        if not self._opened:
            return
        closed = self._ws.close_rcvd
        self._sink.closed(closed.code if closed else 1006, closed.reason if closed else str(exc or ""))

    # frames

    def _frame(self, frame: Frame, at: float) -> None:
        code = frame.opcode
        if code == Opcode.CLOSE:
            return
        if code in (Opcode.TEXT, Opcode.BINARY):
            self._text = code == Opcode.TEXT
            if frame.fin:
                self._deliver(bytes(frame.data), at)
            else:
                self._parts = [bytes(frame.data)]
        elif code == Opcode.CONT:
            self._parts.append(bytes(frame.data))
            if frame.fin:
                parts, self._parts = self._parts, []
                self._deliver(b"".join(parts), at)

    def _deliver(self, data: bytes, at: float) -> None:
        self._sink.received(data.decode() if self._text else data, at)

    def _handshake(self) -> None:
        if self._shaken is not None and not self._shaken.done() and self._ws.state is OPEN:
            self._opened = True
            self._shaken.set_result(None)

    def _handshake_failed(self) -> None:
        error = self._ws.handshake_exc
        if error is None or self._shaken is None or self._shaken.done():
            return
        if isinstance(error, InvalidStatus):
            status = error.response.status_code
            body = bytes(error.response.body or b"")[:200].decode(errors="replace").strip()
            text = f"the server refused the WebSocket handshake with HTTP {status}"
            text += f": {body}" if body else "; is the path right?"
        else:
            text = f"the server does not speak WebSocket here: {error}"
        self._shaken.set_exception(TargetError(text))

    def _flush(self) -> None:
        transport = self._transport
        for data in self._ws.data_to_send():
            if transport is None or transport.is_closing():
                return
            if data:
                transport.write(data)
            elif transport.can_write_eof():
                transport.write_eof()
        if self._ws.state is not CONNECTING and self._ws.close_expected() and transport is not None:
            # The server closes the TCP connection after the closing handshake; one that does not is cut.
            self._options.loop.call_later(GOODBYE_SECONDS, self.abort)
