"""Socket.IO as browsers open it: long-polling at first, and a WebSocket that takes over once it is probed.

The order of steps is the Engine.IO protocol's (revision 4, "Upgrading"): `2probe` on the WebSocket, `3probe` back, the
polling runs dry, `5` on the WebSocket; from then on all packets travel there. Clicks do not wait for it: what is
sent meanwhile goes with whichever transport is the user's at that moment, and in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from headgate.simulate.errors import TargetError
from headgate.simulate.wire.polling import SocketIoPollingWire
from headgate.simulate.wire.port import UserSink, WireOptions
from headgate.simulate.wire.socketio import Address
from headgate.simulate.wire.websocket import WebSocketWire


class SocketIoUpgradeWire:
    """One Socket.IO user who starts on polling and moves to a WebSocket.

    A user whose upgrade fails stays on polling, as browsers do; the sink hears of either.

    Args:
        options: target and limits, shared.
        address: the target's polling address.
        sink: the user.
    """

    def __init__(self, options: WireOptions, address: Address, sink: UserSink) -> None:
        self._options = options
        self._address = replace(address, transport="websocket")
        self._sink = sink
        ear = _Ear(self._deliver, self._polling_closed, sink.retried)
        self._polling = SocketIoPollingWire(options, address, ear)
        self._ws: WebSocketWire | None = None
        self._probed: asyncio.Future[bool] = options.loop.create_future()
        self._upgrade: asyncio.Task[None] | None = None
        self._moved = False
        self._paused = False
        self._over = False

    async def open(self) -> None:
        await self._polling.open()
        if "websocket" in self._polling.upgrades:
            self._upgrade = self._options.loop.create_task(self._try())
        else:
            self._sink.upgraded(False)

    def send(self, message: Any, click_id: int | None = None) -> None:
        self._polling.send(message, click_id)

    def close(self) -> None:
        if self._moved and self._ws is not None:
            self._polling.leave()
            self._ws.close()
        else:
            self._give_up()
            self._polling.close()

    def abort(self) -> None:
        self._give_up()
        if self._ws is not None:
            self._ws.abort()
        if not self._moved:
            self._polling.abort()

    def pause(self) -> None:
        self._paused = True
        self._polling.pause()
        if self._ws is not None:
            self._ws.pause()

    def resume(self) -> None:
        self._paused = False
        self._polling.resume()
        if self._ws is not None:
            self._ws.resume()

    async def _try(self) -> None:
        try:
            async with asyncio.timeout(self._options.timeout):
                moved = await self._move()
        except (TargetError, TimeoutError):
            moved = False
        if not moved:
            if self._ws is not None:
                self._ws.abort()
            self._polling.go_on()
        if not self._over:
            self._sink.upgraded(moved)

    async def _move(self) -> bool:
        """Probe, run the polling dry, switch; False when the session ended meanwhile."""
        url = self._address.url(self._polling.sid)
        ws = WebSocketWire(replace(self._options, url=url), _Ear(self._from_websocket, self._websocket_closed))
        self._ws = ws
        await ws.open()
        if self._paused:
            ws.pause()
        ws.send("2probe")
        if not await self._probed:
            return False
        await self._polling.hold()
        if self._ws is None or self._polling.over:
            return False
        self._moved = True
        ws.send("5")
        self._polling.hand_over(ws.send)
        return True

    def _give_up(self) -> None:
        if self._upgrade is not None and not self._moved:
            self._upgrade.cancel()
            if self._ws is not None:
                self._ws.abort()

    # what comes, from either transport

    def _deliver(self, message: Any, at: float) -> None:
        self._sink.received(message, at)

    def _from_websocket(self, packet: Any, at: float) -> None:
        if packet == "3probe" and not self._probed.done():
            self._probed.set_result(True)
        elif self._moved:
            self._polling.packet(packet, at)
            if self._polling.left and self._ws is not None:
                self._ws.close()

    def _websocket_closed(self, code: int, reason: str) -> None:
        if self._moved:
            self._end(code, reason or ("the server closed the session" if self._polling.left else ""))
            return
        self._ws = None
        if not self._probed.done():
            self._probed.set_result(False)

    def _polling_closed(self, code: int, reason: str) -> None:
        if not self._moved:
            self._give_up()
            self._end(code, reason)

    def _end(self, code: int, reason: str) -> None:
        if not self._over:
            self._over = True
            self._sink.closed(code, reason)


class _Ear:
    """A sink made of functions."""

    def __init__(
        self,
        received: Callable[[Any, float], None],
        closed: Callable[[int, str], None],
        retried: Callable[[], None] = lambda: None,
    ) -> None:
        self.received = received
        self.closed = closed
        self.retried = retried
