"""The other 200 users: a process of its own that clicks through sockets and measures the answers.

The clicks are an open loop: each has an intended moment, drawn beforehand, and its latency counts from
there. A server that stalls is not spared the clicks that would have come meanwhile, and a click without
an answer counts with its age.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from collections import deque
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from examples.demo.orders import ROWS
from examples.demo.processes import Processes

SECONDS_BETWEEN_CLICKS: Final = 2.0
"""Of one user, on average; exponentially distributed, as independent arrivals are."""
WINDOW: Final = 3.0
"""Seconds that a report looks back."""
REPORT_EVERY: Final = 0.5
LONGEST_WAIT: Final = 60.0
"""For the server to be ready, and for a user to be connected again."""


class Measure:
    """Latencies of the last seconds, and the clicks that wait for their answer."""

    def __init__(self) -> None:
        self.waiting: dict[tuple[int, int], float] = {}
        self.total = 0
        self._recent: deque[tuple[float, float]] = deque()

    def clicked(self, user: int, click: int, intended: float) -> None:
        self.waiting[user, click] = intended
        self.total += 1

    def answered(self, user: int, click: int) -> None:
        intended = self.waiting.pop((user, click), None)
        if intended is not None:
            now = time.perf_counter()
            self._recent.append((now, now - intended))

    def lost(self, user: int) -> None:
        """The user's connection broke: its unanswered clicks will not be answered."""
        for key in [key for key in self.waiting if key[0] == user]:
            del self.waiting[key]

    def report(self) -> dict[str, Any] | None:
        """Percentiles in milliseconds and clicks per second; None while there is nothing to tell."""
        now = time.perf_counter()
        while self._recent and self._recent[0][0] < now - WINDOW:
            self._recent.popleft()
        ages = [now - intended for intended in self.waiting.values()]
        times = sorted([latency for _, latency in self._recent] + ages)
        if not times:
            return None
        return {
            "p50": round(times[len(times) // 2] * 1000, 2),
            "p99": round(times[min(len(times) - 1, int(len(times) * 0.99))] * 1000, 2),
            "rate": round(len(self._recent) / WINDOW),
            "total": self.total,
        }


class User:
    """One user: a connection that comes back, and clicks numbered from 1."""

    def __init__(self, number: int, url: str, measure: Measure) -> None:
        self._number = number
        self._url = url
        self._measure = measure
        self._clicks = 0
        self._socket: ClientConnection | None = None

    @property
    def connected(self) -> bool:
        return self._socket is not None

    async def stay(self) -> None:
        """Hold the connection and hear the answers, for ever."""
        async for socket in connect(self._url, compression=None, open_timeout=LONGEST_WAIT):
            self._socket = socket
            with contextlib.suppress(ConnectionClosed):
                async for text in socket:
                    self._measure.answered(self._number, json.loads(text).get("id", 0))
            self._socket = None
            self._measure.lost(self._number)

    async def click(self, intended: float) -> None:
        if self._socket is None:
            return
        self._clicks += 1
        self._measure.clicked(self._number, self._clicks, intended)
        await self.send({"type": "click", "order": random.randint(1, ROWS), "id": self._clicks})

    async def send(self, message: dict[str, Any]) -> None:
        if self._socket is not None:
            with contextlib.suppress(ConnectionClosed):
                await self._socket.send(json.dumps(message))


async def click_for_ever(users: list[User]) -> None:
    """Send each click at its moment; a late one is not moved, only measured as late."""
    moment = time.perf_counter()
    while True:
        moment += random.expovariate(len(users) / SECONDS_BETWEEN_CLICKS)
        await asyncio.sleep(max(0.0, moment - time.perf_counter()))
        await random.choice(users).click(moment)


async def report_for_ever(users: list[User], measure: Measure) -> None:
    """Tell the page, through the app, how the others fare and what the processes do."""
    processes = Processes()
    while True:
        await asyncio.sleep(REPORT_EVERY)
        if report := measure.report():
            connected = sum(user.connected for user in users)
            tiles = await asyncio.to_thread(processes.tiles)
            await users[0].send({"type": "report", "users": connected, "processes": tiles, **report})


async def end_with(parent: int) -> None:
    """Return when the process that started this one is gone: nobody is left to end it."""
    while os.getppid() == parent:  # noqa: ASYNC110 - another process's end is no event of ours
        await asyncio.sleep(1)


async def wait_until_ready(address: str) -> None:
    """Wait for the gateway to say that every lane has a worker.

    Raises:
        TimeoutError: it did not within a minute.
    """
    async with asyncio.timeout(LONGEST_WAIT):
        while not await asyncio.to_thread(_ready, f"{address}/-/ready"):  # noqa: ASYNC110 - nor is its start
            await asyncio.sleep(0.1)


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def greet(address: str, count: int) -> None:
    """What the terminal shows below the start-up table."""
    data = os.path.relpath(os.environ.get("HEADGATE_DATA", ".headgate"))
    print(f"\n  The order desk is open:  {address}/", flush=True)
    print(f"  {count} simulated users are clicking. Ctrl-C ends it all.", flush=True)
    print(f"  What runs:  {os.path.relpath(sys.executable)} -m headgate status --data {data}\n", flush=True)


async def run(address: str, count: int, open_page: bool) -> None:
    """Wait for the server, then click and report for ever."""
    await wait_until_ready(address)
    greet(address, count)
    if open_page and has_screen():
        await asyncio.to_thread(webbrowser.open, f"{address}/")
    measure = Measure()
    url = address.replace("http", "ws", 1) + "/live"
    users = [User(number, url, measure) for number in range(count)]
    work = [click_for_ever(users), report_for_ever(users, measure)] if users else []
    await asyncio.gather(*(user.stay() for user in users), *work)


def has_screen() -> bool:
    """Whether a browser would have a window; without one, a browser of the terminal would open over the log."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


async def run_beside(parent: int, *given: Any) -> None:
    """Run for as long as the process that started this one lives."""
    tasks = [asyncio.create_task(end_with(parent)), asyncio.create_task(run(*given))]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    for task in done:
        task.result()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("address", help="http://host:port of the running demonstration")
    options.add_argument("--users", type=int, default=200)
    options.add_argument("--open", action="store_true", help="open the page in a browser when it is ready")
    given = options.parse_args()
    # Ctrl-C reaches every process of the terminal; this one ends when the demonstration does, and says nothing.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(run_beside(os.getppid(), given.address, given.users, given.open))


if __name__ == "__main__":
    main()
