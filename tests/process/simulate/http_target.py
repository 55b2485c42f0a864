"""An HTTP server with planted faults: `python http_target.py PORT PLANTS`.

GET answers at once; POST is accepted as a job (202, Location), done after `delay` seconds. Plants, all
optional: fail (numbers of requests answered 503), cut (… whose connection is cut), close (each answer ends
its connection), slow (seconds that every GET takes), bad_jobs (jobs end as failed).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import uvicorn


class App:
    def __init__(self, plants: dict[str, Any]) -> None:
        self.plants = plants
        self.requests = 0
        self.jobs: dict[str, float] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        status, headers, body = await self.answer(scope)
        if self.plants.get("close"):
            headers.append((b"connection", b"close"))
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def answer(self, scope: Any) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        if scope["path"].startswith("/jobs/"):
            return self.job(scope["path"])
        self.requests += 1
        if self.requests in self.plants.get("fail", ()):
            return 503, [], b"full"
        if scope["method"] == "POST":
            path = f"/jobs/{self.requests}"
            self.jobs[path] = time.monotonic() + self.plants.get("delay", 0.1)
            return 202, [(b"location", path.encode())], b""
        await asyncio.sleep(self.plants.get("slow", 0))
        return 200, [], b"hello"

    def job(self, path: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        if time.monotonic() < self.jobs[path]:
            return 202, [(b"retry-after", b"0.05")], b""
        return 200, [], json.dumps({"state": "failed" if self.plants.get("bad_jobs") else "succeeded"}).encode()


if __name__ == "__main__":
    uvicorn.run(App(json.loads(sys.argv[2])), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
