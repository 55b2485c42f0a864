"""One producer process: `python producer.py MODULE park SECONDS | load COUNT | idle COUNT | crash`; prints JSON.

It runs in the engine's own environment, from the folder of the apps. An engine whose calls are coroutines is
driven by an event loop, the others directly.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import sys
import time
from pathlib import Path
from typing import Any

TEXT = "x" * 200
GAP = 0.02
"""Seconds between two jobs on an idle engine: it is idle again."""


class Producer:
    """The orders, each a coroutine that only ever waits where the engine's own calls do."""

    def __init__(self, module: Any) -> None:
        self.module = module

    async def call(self, name: str, *arguments: Any) -> Any:
        found = getattr(self.module, name)(*arguments)
        return await found if inspect.isawaitable(found) else found

    async def pause(self, seconds: float) -> None:
        if self.module.ASYNC:
            await asyncio.sleep(seconds)
        else:
            time.sleep(seconds)  # noqa: ASYNC251 - no event loop runs here, see main()

    async def park(self, seconds: float) -> dict[str, Any]:
        """Enqueue one after the other, for so long; the seconds of each."""
        name = "park" if hasattr(self.module, "park") else "put"
        for _ in range(20):  # connects, and fills the caches
            await self.call(name, 0.0, TEXT)
        times: list[float] = []
        start = now = time.perf_counter()
        while now - start < seconds:
            before = now
            await self.call(name, 0.0, TEXT)
            now = time.perf_counter()
            times.append(now - before)
        times.sort()
        return {"rate": len(times) / (now - start), "p50": times[len(times) // 2], "p99": times[len(times) * 99 // 100]}

    async def load(self, count: float) -> dict[str, Any]:
        """Enqueue so many."""
        for _ in range(int(count)):
            await self.call("put", time.time(), TEXT)
        return {}

    async def idle(self, count: float) -> dict[str, Any]:
        """Enqueue one and wait for its result, then the next; the seconds of each. The first ones connect."""
        times = []
        for _ in range(int(count) + 5):
            sent = time.time()
            handle = await self.call("put", sent, TEXT)
            await self.call("result", handle)
            times.append(time.time() - sent)
            await self.pause(GAP)
        return {"result": times[5:]}

    async def crash(self, _: float) -> dict[str, Any]:
        """Enqueue the job whose worker will be killed."""
        await self.call("put_crash")
        return {}

    async def play(self, order: str, amount: float) -> None:
        if hasattr(self.module, "start"):
            await self.call("start")
        print(json.dumps(await getattr(self, order)(amount)))
        if hasattr(self.module, "stop"):
            await self.call("stop")


def main() -> None:
    """Carry out the order of the command line."""
    sys.path.insert(0, str(Path.cwd()))
    module = importlib.import_module(sys.argv[1])
    playing = Producer(module).play(sys.argv[2], float(sys.argv[3]) if len(sys.argv) > 3 else 0.0)
    if module.ASYNC:
        asyncio.run(playing)
        return
    try:
        playing.send(None)  # nothing in it waits: it runs to its end at once
    except StopIteration:
        return
    raise RuntimeError("a call of this engine waits for an event loop; its app must say ASYNC = True")


if __name__ == "__main__":
    main()
