"""A bad network in the hand of a test: connections are reset, stand half-open, or are not let through."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, Self


class _Pair:
    """One client's connection, and ours to the server."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.writers = (client, server)
        self.stalled = False

    def cut(self) -> None:
        for writer in self.writers:
            with contextlib.suppress(OSError):
                writer.transport.abort()


class Cuts:
    """Passes connections on to a port of this machine, until it is told otherwise.

    Args:
        target: that port.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.passed = 0
        """Connections so far."""
        self._pairs: set[_Pair] = set()
        self._refused = b""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cuts", daemon=True)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    def cut(self) -> int:
        """Reset every connection; returns how many."""
        return int(self._call(self._cut))

    def stall(self) -> None:
        """Let the connections that there are stand open and pass nothing any more: half-open, as by a lost network."""

        def stall() -> None:
            for pair in self._pairs:
                pair.stalled = True

        self._call(stall)

    def refuse(self, word: bytes) -> None:
        """Cut connections whose first bytes hold this; b"" lets all through."""
        self._refused = word

    def open(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def close(self) -> None:
        async def end() -> None:
            if self._server is not None:
                self._server.close()
            self._cut()
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, function: Callable[[], Any]) -> Any:
        async def run() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def _cut(self) -> int:
        pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            pair.cut()
        return len(pairs)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: asyncio's would log that it was cancelled at the end.
        task = self._loop.create_task(self._accepted(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        pair = _Pair(writer, back)
        self._pairs.add(pair)
        self.passed += 1
        ways = [asyncio.create_task(self._pump(pair, reader, back, inward=True))]
        ways.append(asyncio.create_task(self._pump(pair, there, writer, inward=False)))
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._pairs.discard(pair)
            pair.cut()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pump(
        self, pair: _Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, inward: bool
    ) -> None:
        first = inward
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if first and self._refused and self._refused in data:
                    return
                first = False
                if not pair.stalled:
                    writer.write(data)
                    await writer.drain()
