"""Socket.IO over HTTP long-polling: what a browser behind a proxy without WebSocket does for good.

`upgrade.py` puts a WebSocket in its place, where there is one.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from headgate.simulate.errors import TargetError
from headgate.simulate.wire.http import HttpRequest, HttpResponse, HttpWire
from headgate.simulate.wire.port import HttpSink, WireOptions
from headgate.simulate.wire.socketio import Address, Session

_SEPARATOR: Final = "\x1e"


class SocketIoPollingWire:
    """One Socket.IO user on Engine.IO's polling transport: a hanging GET, and POSTs beside it."""

    def __init__(self, options: WireOptions, address: Address, sink: HttpSink) -> None:
        self._address = address
        self._sink = sink
        self._timeout = options.timeout
        self._http = HttpWire(replace(options, url=address.url()), self)
        self._session = Session(address, self._enqueue, sink.received)
        self._outbox: list[str] = []
        self._posting = False
        self._polling = False
        self._open = False
        self._held = False
        self._quiet = asyncio.Event()
        self._carrier: Callable[[str], None] | None = None
        self.over = False

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
        if not self.over:
            self._held = False
            self._session.leave()
            asyncio.get_running_loop().call_later(0.05, self._end, 1000, "")

    def abort(self) -> None:
        self._end(1006, "")

    def pause(self) -> None:
        self._http.pause()

    def resume(self) -> None:
        self._http.resume()

    # for a WebSocket that takes over

    @property
    def sid(self) -> str:
        """The session's id, which the WebSocket names."""
        return self._session.sid

    @property
    def upgrades(self) -> list[str]:
        """The transports that the server offers instead."""
        return self._session.upgrades

    @property
    def left(self) -> bool:
        """Whether the server has closed the session."""
        return self._session.left

    def packet(self, data: str | bytes, at: float) -> None:
        """A packet that came on the other transport."""
        self._session.packet(data, at)

    def leave(self) -> None:
        """Say goodbye, on the transport that carries the session."""
        self._session.leave()

    async def hold(self) -> None:
        """Start no further request, and wait until those under way have ended; packets wait meanwhile."""
        self._held = True
        self._tell_quiet()
        await self._quiet.wait()

    def go_on(self) -> None:
        """Go on after a `hold` that led nowhere."""
        if self._held and not self.over:
            self._held = False
            if not self._polling:
                self._poll()
            self._post()

    def hand_over(self, carrier: Callable[[str], None]) -> None:
        """Let the carrier send what waits, and all that follows."""
        self._carrier = carrier
        waiting, self._outbox = self._outbox, []
        for packet in waiting:
            carrier(packet)
        self._http.close()

    def _tell_quiet(self) -> None:
        if self._held and not self._polling and not self._posting:
            self._quiet.set()

    # requests

    def _url(self) -> str:
        return self._address.url(self._session.sid or None)

    def _poll(self) -> None:
        self._polling = True
        self._http.send(HttpRequest("GET", self._url()))

    def _enqueue(self, packet: str) -> None:
        if self._carrier is not None:
            self._carrier(packet)
            return
        self._outbox.append(packet)
        # Packets of one turn of the loop go in one POST, as a browser's client does.
        asyncio.get_running_loop().call_soon(self._post)

    def _post(self) -> None:
        if self._posting or self._held or not self._outbox or self.over:
            return
        body, self._outbox = _SEPARATOR.join(self._outbox), []
        self._posting = True
        self._http.send(HttpRequest("POST", self._url(), {"Content-Type": "text/plain;charset=UTF-8"}, body))

    # Sink of the HTTP connections

    def received(self, message: HttpResponse, at: float) -> None:
        if self.over or self._carrier is not None:
            return
        if message.status != 200:
            self._refused(message)
            return
        if message.request.method == "POST":
            self._posting = False
            self._tell_quiet()
            self._post()
            return
        self._polling = False
        for packet in message.body.decode(errors="replace").split(_SEPARATOR):
            self._session.packet(_unpacked(packet), at)
        if self._session.left:
            self._end(1000, "the server closed the session")
        elif self._held:
            self._tell_quiet()
        elif not self.over:
            self._poll()

    def retried(self) -> None:
        self._sink.retried()

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
        if self.over:
            return
        self.over = True
        self._quiet.set()
        self._http.close()
        if self._open:
            # Never from within the user's own call.
            asyncio.get_running_loop().call_soon(self._sink.closed, code, reason)


def _unpacked(packet: str) -> str | bytes:
    """Binary parts travel as base64 behind a `b` (engine.io-protocol, polling)."""
    if packet.startswith("b"):
        return b64decode(packet[1:])
    return packet
