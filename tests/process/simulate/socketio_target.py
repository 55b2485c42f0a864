"""A Socket.IO server (python-socketio under uvicorn): `python socketio_target.py PORT PLANTS`.

Plants, all optional: refuse (connections are refused), lose (numbers of clicks without an acknowledgement),
kick_at (this click's client is disconnected), event (answers come as events instead).
"""

from __future__ import annotations

import json
import sys
from typing import Any

import socketio
import uvicorn


def build(plants: dict[str, Any]) -> Any:
    server = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*", namespaces="*")
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
    return socketio.ASGIApp(server)


async def _never() -> None:
    import asyncio

    await asyncio.sleep(3600)


if __name__ == "__main__":
    uvicorn.run(build(json.loads(sys.argv[2])), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
