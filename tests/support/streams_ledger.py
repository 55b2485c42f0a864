"""The streams' ledger: what was appended is counted, and every follower has to account for all of it.

One producer appends numbered events by HTTP, with producer headers, and repeats what nobody acknowledged. Followers of
every kind read the stream through a bad network and an nginx, while processes are killed. At the end each of them has
every number once and in order, or was told `truncated`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from headgate.base.errors import HeadgateError
from headgate.client import afollow
from tests.support.cuts import Cuts
from tests.support.headgate import Headgate
from tests.support.nginx import Nginx
from tests.support.wait import free_port, until

STREAM: Final = "open/ledger"
START: Final = "0" * 16
ROOT: Final = Path(__file__).resolve().parents[2]
FRONT: Final = """
map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
server {{
    listen 127.0.0.1:{port};
    location / {{
        proxy_pass http://127.0.0.1:{target};
        proxy_http_version 1.1;
        proxy_set_header Host $host:$server_port;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
        proxy_buffering off;
        proxy_read_timeout 60s;
    }}
}}
"""
TROUBLE: Final = (OSError, WebSocketException, httpx.HTTPError, TimeoutError)


class Follower:
    """One reader of the stream, and what it has got."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.got: list[int] = []
        self.offset = START
        self.truncated: list[str] = []
        self.connections = 0
        self.ended = False

    def take(self, offset: str, kind: str, data: Any, terminal: bool) -> None:
        """One event, as it came."""
        if kind == "truncated":
            self.truncated.append(data["reason"])
        elif kind == "message":
            assert offset > self.offset or self.truncated, f"{self.kind}: {offset} after {self.offset}"
            self.got.append(data["n"])
        elif not terminal:
            raise AssertionError(f"{self.kind}: an event {kind} came")
        self.offset = max(self.offset, offset)
        self.ended = self.ended or terminal


class Ledger:
    """A run.

    Args:
        server: under test, with `tests.support.streams_app`.
        seed: of the faults.
        rate: appends per second, about.
    """

    def __init__(self, server: Headgate, seed: int, rate: float = 60.0) -> None:
        self.server = server
        self.random = random.Random(seed)
        self.rate = rate
        self.acknowledged = 0
        self.repeated = 0
        self.faults: Counter[str] = Counter()
        self.followers: list[Follower] = []
        self._over = asyncio.Event()

    async def run(self, seconds: float, faults: list[str], every: float, crowd: int = 2) -> None:
        """Append, follow and break things for so long; returns when every follower has the end."""
        # Who dies while the first processes are still starting ends the server, and is meant to.
        until(lambda: all(one["state"] == "serving" for one in self.server.status()["processes"]), "all serve", 60)
        front = free_port()
        with Nginx(FRONT.format(port=front, target=self.server.port), front) as nginx, Cuts(front) as cuts:
            self._nginx, self._cuts = nginx, cuts
            readers = [self._socket, self._slow, self._events, self._poll]
            producing = asyncio.create_task(self._produce())
            tasks = [asyncio.create_task(self._follow(reader)) for reader in readers for _ in range(crowd)]
            end, number = time.monotonic() + seconds, 0
            while time.monotonic() < end:
                await asyncio.sleep(every)
                await self._break(faults[number % len(faults)])
                number += 1
            self._over.set()
            async with asyncio.timeout(90):
                await asyncio.gather(producing, *tasks)

    def reckon(self) -> None:
        """Every event acknowledged is in the hands of every follower once and in order, or its loss was told."""
        assert self.acknowledged > 0
        for one in self.followers:
            assert one.ended, f"{one.kind} never saw the end"
            if one.truncated:
                assert one.got == sorted(set(one.got)), f"{one.kind} got something twice or out of order"
            else:
                counts, wanted = Counter(one.got), range(self.acknowledged)
                lacks, twice = [n for n in wanted if n not in counts], [n for n in counts if counts[n] > 1]
                assert one.got == list(wanted), (
                    f"{one.kind} lacks {lacks[:20]}, has twice {twice[:20]} of {len(wanted)}"
                )

    def told(self) -> str:
        """What was done and what came of it."""
        back = {one.kind: one.connections for one in self.followers}
        return (
            f"acknowledged {self.acknowledged}, repeated {self.repeated}, faults {dict(self.faults)}, "
            f"followers {len(self.followers)}, connections {back}, "
            f"truncated {sum(bool(one.truncated) for one in self.followers)}"
        )

    # what breaks

    async def _break(self, fault: str) -> None:
        self.faults[fault] += 1
        match fault:
            case "cut":
                self._cuts.cut()
            case "half-open":
                self._cuts.stall()
            case "nginx":
                os.kill(self._nginx.process.pid, signal.SIGHUP)
            case "gateway" | "broker":
                with contextlib.suppress(AssertionError):  # it is being started again at this very moment
                    await asyncio.to_thread(self.server.kill, fault)

    # who appends

    async def _produce(self) -> None:
        address = f"{self.server.url}/-/streams/{STREAM}"
        base = {"content-type": "application/json", "producer-id": "ledger", "producer-epoch": "0"}
        async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
            await self._insist(http, "PUT", address, {"content-type": "application/json"}, b"")
            while not self._over.is_set():
                head = {**base, "producer-seq": str(self.acknowledged)}
                body = json.dumps({"n": self.acknowledged}).encode()
                await self._insist(http, "POST", address, head, body)
                self.acknowledged += 1
                await asyncio.sleep(self.random.expovariate(self.rate))
            await self._insist(http, "POST", address, {"stream-closed": "true"}, b"")

    async def _insist(self, http: httpx.AsyncClient, method: str, address: str, head: Any, body: bytes) -> None:
        while True:
            with contextlib.suppress(*TROUBLE):
                answer = await http.request(method, address, headers=head, content=body)
                if answer.status_code in (200, 201, 204):
                    return
                assert answer.status_code in (404, 502, 503), (answer.status_code, answer.text)
            self.repeated += 1
            await asyncio.sleep(0.1)

    # who follows

    async def _follow(self, reader: Callable[[Follower], Awaitable[None]]) -> None:
        one = Follower(reader.__name__.strip("_"))
        self.followers.append(one)
        while not one.ended:
            one.connections += 1
            with contextlib.suppress(*TROUBLE):
                await reader(one)
            await asyncio.sleep(0.02 + self.random.random() * 0.1)

    async def _socket(self, one: Follower, pause: float = 0.0) -> None:
        if not hasattr(one, "session"):
            one.session, one.token = uuid.uuid4().hex, ""  # type: ignore[attr-defined]
        session, token = one.session, one.token  # type: ignore[attr-defined]
        url = f"ws://127.0.0.1:{self._cuts.port}/ws?headgate-session={session}"
        options: dict[str, Any] = {"proxy": None, "open_timeout": 3, "close_timeout": 0.2, "max_queue": 4}
        async with connect(url, ping_interval=1, ping_timeout=2, **options) as ws:
            streams = {STREAM: [one.offset, token]} if token else {}
            await ws.send(json.dumps({"headgate": "resume", "streams": streams}))
            if not token:
                await ws.send(json.dumps({"type": "follow", "stream": STREAM, "from": one.offset}))
            async for text in ws:
                said = json.loads(text)
                if said.get("headgate") == "following":
                    one.token = said["token"]  # type: ignore[attr-defined]
                elif said.get("headgate") == "event":
                    if said["event"] == "gone":  # asked for before it was made
                        return
                    one.take(said["offset"], said["event"], said["data"], bool(said.get("terminal")))
                    if one.ended:
                        return
                    if pause:
                        await asyncio.sleep(pause)

    async def _slow(self, one: Follower) -> None:
        await self._socket(one, pause=0.02 if not self._over.is_set() else 0.0)

    async def _events(self, one: Follower) -> None:
        address = f"http://127.0.0.1:{self._cuts.port}/-/streams/{STREAM}"
        with contextlib.suppress(HeadgateError):  # it may give up: the next one goes on behind what it had
            async for event in afollow(address, from_=one.offset, silence=3.0, patience=5.0):
                if event.kind == "gone":
                    return
                one.take(event.offset, event.kind, event.data, event.terminal)
            one.ended = True

    async def _poll(self, one: Follower) -> None:
        address = f"http://127.0.0.1:{self._cuts.port}/-/streams/{STREAM}"
        async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
            while not one.ended:
                answer = await http.get(address, params={"live": "long-poll", "offset": one.offset})
                if answer.status_code == 410:
                    one.truncated.append(answer.json()["reason"])
                    one.offset = answer.headers["stream-next-offset"]
                    continue
                if answer.status_code not in (200, 204):
                    return
                if told := answer.headers.get("stream-truncated"):
                    one.truncated.append(told)
                after = answer.headers["stream-next-offset"]
                rows = answer.json() if answer.status_code == 200 else []
                for at, data in enumerate(rows, int(after) - len(rows) + 1):
                    one.take(f"{at:016d}", "message", data, terminal=False)
                assert one.offset == after
                one.ended = answer.headers.get("stream-closed") == "true"
