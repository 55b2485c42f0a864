"""A Socket.IO server (python-socketio under uvicorn): `python socketio_target.py PORT PLANTS`.

Plants, all optional: refuse (connections are refused), lose (numbers of clicks without an acknowledgement),
kick_at (this click's client is disconnected), event (answers come as events instead), no_upgrade (how the move to
WebSocket fails: no `offer` of it, its `handshake` is refused, or the `probe` is answered by a close).
"""

from __future__ import annotations

import json
import sys
from typing import Any

import socketio
import uvicorn


def build(plants: dict[str, Any]) -> Any:
    upgrades = plants.get("no_upgrade") != "offer"
    server = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*", namespaces="*", allow_upgrades=upgrades)
    clicks = 0

    async def connect(_: str, __: str, ___: dict[str, Any], ____: Any = None) -> bool:
        return not plants.get("refuse")

    async def click(event: str, namespace: str, sid: str, data: Any = None) -> Any:
        nonlocal clicks
        clicks += 1
        if clicks == plants.get("kick_at"):
            await server.disconnect(sid, namespace=namespace)
        if clicks in plants.get("lose", ()):
            return await _never()
        if plants.get("event"):
            await server.emit("answered", {"id": data["id"], "event": event}, to=sid, namespace=namespace)
            await server.emit("picture", {"bytes": b"\x00\x01"}, to=sid, namespace=namespace)
        return {"seen": data["id"]}

    server.on("connect", connect, namespace="*")
    server.on("*", click, namespace="*")
    return _without_websocket(socketio.ASGIApp(server), plants.get("no_upgrade"))


def _without_websocket(app: Any, how: str | None) -> Any:
    """The app, whose WebSockets fail in their handshake or at the first message."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket" or how not in ("handshake", "probe"):
            await app(scope, receive, send)
            return
        await receive()
        if how == "probe":
            await send({"type": "websocket.accept"})
            await receive()
        await send({"type": "websocket.close"})

    return wrapped


async def _never() -> None:
    import asyncio

    await asyncio.sleep(3600)


if __name__ == "__main__":
    uvicorn.run(build(json.loads(sys.argv[2])), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
