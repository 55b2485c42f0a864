"""Stands in for a Headgate's supervisor: `python supervisor.py FOLDER PORT`, the control socket and two processes.

It answers `status` with numbers that change, starts a new victim when one is killed, and counts generations.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from headgate.base.frames import FrameReader, frame


class Supervisor:
    def __init__(self, port: int) -> None:
        self.port = port
        self.generation = 1
        self.asked = 0
        self.victim: asyncio.subprocess.Process | None = None

    async def status(self) -> dict[str, Any]:
        self.asked += 1
        if self.victim is None or self.victim.returncode is not None:
            self.victim = await asyncio.create_subprocess_exec("sleep", "600")
        stats = {"waiting": self.asked, "busy": 1, "requests": 99}
        jobs = {"jobs": {"default": {"queued": 3}}}
        app = {"name": "app.fast.0", "role": "app", "lane": "fast", "pid": self.victim.pid, "rss": 50_000_000}
        broker = {"name": "broker", "role": "broker", "pid": 0, "stats": jobs}
        processes = [{**app, "cpu": self.asked / 10, "stats": stats}, broker]
        return {"addresses": [f"127.0.0.1:{self.port}"], "processes": processes}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = FrameReader(65536)
        while data := await reader.read(65536):
            for payload in frames.feed(data):
                writer.write(frame(json.dumps(await self.answer(json.loads(payload))).encode()))
        writer.close()

    async def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        if question["do"] == "status":
            return {"ok": True, "data": await self.status()}
        self.generation += 1
        if self.generation > 2:
            return {"ok": False, "failure": "the new code does not start"}
        return {"ok": True, "data": {"generation": self.generation}}


async def main(folder: Path, port: int) -> None:
    supervisor = Supervisor(port)
    server = await asyncio.start_unix_server(supervisor.serve, str(folder / "run" / "control.sock"))
    try:
        await server.serve_forever()
    finally:
        if supervisor.victim is not None and supervisor.victim.returncode is None:
            supervisor.victim.kill()
            await supervisor.victim.wait()


if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
