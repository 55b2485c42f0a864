"""Socket.IO over HTTP long-polling: what a browser behind a proxy without WebSocket does for good."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from dataclasses import replace
from typing import Any, Final

from headgate.simulate.errors import TargetError
from headgate.simulate.wire.http import HttpRequest, HttpResponse, HttpWire
from headgate.simulate.wire.port import Sink, WireOptions
from headgate.simulate.wire.socketio import Address, Session

_SEPARATOR: Final = "\x1e"


class SocketIoPollingWire:
    """One Socket.IO user on Engine.IO's polling transport: a hanging GET, and POSTs beside it."""

    def __init__(self, options: WireOptions, address: Address, sink: Sink) -> None:
        self._address = address
        self._sink = sink
        self._timeout = options.timeout
        self._http = HttpWire(replace(options, url=address.url()), self)
        self._session = Session(address, self._enqueue, sink.received)
        self._outbox: list[str] = []
        self._posting = False
        self._open = False
        self._over = False

    async def open(self) -> None:
        await self._http.open()
        self._poll()
        try:
            async with asyncio.timeout(self._timeout):
                await self._session.connected
        except TimeoutError:
            self._http.close()
            raise TargetError(f"the Socket.IO server did not answer the polling within {self._timeout:g} s") from None
        except TargetError:
            self._http.close()
            raise
        self._open = True

    def send(self, message: Any, click_id: int | None = None) -> None:
        self._session.emit(message, click_id)

    def close(self) -> None:
        if not self._over:
            self._session.leave()
            asyncio.get_running_loop().call_later(0.05, self._end, 1000, "")

    def abort(self) -> None:
        self._end(1006, "")

    def pause(self) -> None:
        self._http.pause()

    def resume(self) -> None:
        self._http.resume()

    def _url(self) -> str:
        return self._address.url(self._session.sid or None)

    def _poll(self) -> None:
        self._http.send(HttpRequest("GET", self._url()))

    def _enqueue(self, packet: str) -> None:
        self._outbox.append(packet)
        # Packets of one turn of the loop go in one POST, as a browser's client does.
        asyncio.get_running_loop().call_soon(self._post)

    def _post(self) -> None:
        if self._posting or not self._outbox or self._over:
            return
        body, self._outbox = _SEPARATOR.join(self._outbox), []
        self._posting = True
        self._http.send(HttpRequest("POST", self._url(), {"Content-Type": "text/plain;charset=UTF-8"}, body))

    # Sink of the HTTP connections

    def received(self, message: HttpResponse, at: float) -> None:
        if self._over:
            return
        if message.status != 200:
            self._refused(message)
            return
        if message.request.method == "POST":
            self._posting = False
            self._post()
            return
        for packet in message.body.decode(errors="replace").split(_SEPARATOR):
            self._session.packet(_unpacked(packet), at)
        if self._session.left:
            self._end(1000, "the server closed the session")
        elif not self._over:
            self._poll()

    def closed(self, code: int, reason: str) -> None:
        """The HTTP connections are gone; the session's end has been told already."""

    def _refused(self, message: HttpResponse) -> None:
        text = message.body[:120].decode(errors="replace") or "the connection broke"
        said = f"HTTP {message.status} to the Socket.IO polling: {text}" if message.status else text
        if not self._session.connected.done():
            self._session.connected.set_exception(TargetError(f"the server answered {said}"))
        else:
            self._end(1006, said[:60])

    def _end(self, code: int, reason: str) -> None:
        if self._over:
            return
        self._over = True
        self._http.close()
        if self._open:
            # Never from within the user's own call.
            asyncio.get_running_loop().call_soon(self._sink.closed, code, reason)


def _unpacked(packet: str) -> str | bytes:
    """Binary parts travel as base64 behind a `b` (engine.io-protocol, polling)."""
    if packet.startswith("b"):
        return b64decode(packet[1:])
    return packet
