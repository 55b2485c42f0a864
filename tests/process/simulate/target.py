"""A WebSocket server with planted faults: `python target.py PORT PLANTS`, PLANTS being JSON.

Clicks are counted over all connections from 1. Plants, all optional:
    lose, duplicate, swap, misdeliver: the numbers of clicks whose answer is lost, sent twice, sent after
        the next one of its connection, or sent to another connection.
    stall_at, stall: at this click the whole server sleeps for so many seconds.
    close_at, close_code: this click's connection is closed instead of answered.
    mute: nothing is ever answered. babble: answers that no scenario understands.
    refuse: handshakes are refused with this HTTP status. deaf: they are not answered at all.
    delay: seconds that a job takes; lose_results, double_results: every job's result.
    resend: on a resume, all events again from the start (a server that ignores offsets).
    cpu: seconds of busy work per click.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response


class Target:
    def __init__(self, plants: dict[str, Any]) -> None:
        self.plants = plants
        self.clicks = 0
        self.held: dict[ServerConnection, str] = {}
        self.connections: set[ServerConnection] = set()
        self.jobs: dict[str, list[str]] = {}
        self.owners: dict[str, ServerConnection] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def planted(self, name: str) -> bool:
        return self.clicks in self.plants.get(name, ())

    async def serve(self, ws: ServerConnection) -> None:
        self.connections.add(ws)
        try:
            async for text in ws:
                await self.message(ws, json.loads(text))
        except ConnectionClosed:
            return
        finally:
            self.connections.discard(ws)

    async def message(self, ws: ServerConnection, message: dict[str, Any]) -> None:
        if message["type"] == "follow":
            await self.resume(ws, message["job"], int(message["after"]))
            return
        self.clicks += 1
        if self.clicks == self.plants.get("stall_at"):
            time.sleep(self.plants["stall"])  # noqa: ASYNC251 - blocking everybody is the planted fault
        if self.clicks == self.plants.get("close_at"):
            await ws.close(self.plants["close_code"], "planted")
            return
        if self.plants.get("mute"):
            return
        if message["type"] == "update" and "delay" in self.plants:
            await self.job(ws, message["id"])
            return
        await self.answer(ws, json.dumps({"type": "answer", "id": message["id"]}))

    async def answer(self, ws: ServerConnection, text: str) -> None:
        if self.plants.get("babble"):
            text = "what?"
        if self.planted("lose"):
            return
        if self.planted("swap"):
            self.held[ws] = text
            return
        if self.planted("misdeliver"):
            ws = next(other for other in self.connections if other is not ws)
        await ws.send(text)
        if self.planted("duplicate"):
            await ws.send(text)
        if ws in self.held:
            await ws.send(self.held.pop(ws))

    async def job(self, ws: ServerConnection, click_id: int) -> None:
        job = f"j{click_id}"
        self.jobs[job] = []
        self.owners[job] = ws
        await ws.send(json.dumps({"id": click_id, "job_id": job}))
        task = asyncio.create_task(self.work(job))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def work(self, job: str) -> None:
        kinds = ["started", "progress", "result"]
        if self.plants.get("lose_results"):
            kinds.pop()
        if self.plants.get("double_results"):
            kinds.append("result")
        for offset, kind in enumerate(kinds, start=1):
            await asyncio.sleep(self.plants["delay"] / 3)
            event = {"headgate": "event", "stream": f"jobs/{job}", "offset": str(offset), "event": kind, "data": None}
            self.jobs[job].append(json.dumps(event))
            await self.tell(job, self.jobs[job][-1])

    async def tell(self, job: str, text: str) -> None:
        try:
            await self.owners[job].send(text)
        except ConnectionClosed:
            return

    async def resume(self, ws: ServerConnection, job: str, after: int) -> None:
        self.owners[job] = ws
        for text in self.jobs[job][0 if self.plants.get("resend") else after :]:
            await ws.send(text)

    async def handshake(self, _: ServerConnection, request: Request) -> Response | None:
        if self.plants.get("deaf"):
            await asyncio.sleep(3600)
        if status := self.plants.get("refuse"):
            return Response(status, HTTPStatus(status).phrase, request.headers.__class__(), b"go away")
        return None


async def main(port: int, plants: dict[str, Any]) -> None:
    target = Target(plants)
    options: dict[str, Any] = {"compression": None, "ping_interval": None, "open_timeout": None}
    async with serve(target.serve, "127.0.0.1", port, process_request=target.handshake, **options) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), json.loads(sys.argv[2])))
