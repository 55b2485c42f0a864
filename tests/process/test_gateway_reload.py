"""A whole Headgate under load: what a reload and the death of an app worker cost its clients."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.support.fixtures import StartHeadgate
from tests.support.headgate import Headgate
from tests.support.wait import until

pytestmark = pytest.mark.anyio

APP = """
from flask import Flask
from headgate import Headgate

app = Flask(__name__)
gate = Headgate(app)

@app.get("/")
def index():
    return "ok"

@gate.socket("/ws")
def echo(sock, message):
    sock.state["n"] = sock.state.get("n", 0) + 1
    return {"n": sock.state["n"]}
"""


class Users:
    """Clients that go on until they are stopped, and what came of it."""

    def __init__(self, server: Headgate) -> None:
        self.seen: Counter[str] = Counter()
        self.stop = asyncio.Event()
        self._server = server
        self._tasks = [asyncio.create_task(self._socket()) for _ in range(10)]
        self._tasks += [asyncio.create_task(self._requests()) for _ in range(4)]

    async def pass_some(self, most: int = 300) -> Counter[str]:
        """Wait for so many answers of each kind; returns what was seen since the last call."""
        async with asyncio.timeout(60):
            while self.seen["socket"] < most or self.seen["200"] < most // 3:  # noqa: ASYNC110 - counts of many tasks
                await asyncio.sleep(0.02)
        seen, self.seen = self.seen, Counter()
        return seen

    async def finish(self) -> None:
        self.stop.set()
        async with asyncio.timeout(60):
            await asyncio.gather(*self._tasks)

    async def _socket(self) -> None:
        async with connect(self._server.ws_url + "/ws") as sock:
            handled = 0
            while not self.stop.is_set():
                await sock.send('{"id": 1}')
                answer = json.loads(await sock.recv())
                if answer.get("error") == "worker_lost":
                    self.seen["lost"] += 1
                    continue
                handled += 1
                assert answer["n"] >= handled, "the state was lost"
                handled = answer["n"]
                self.seen["socket"] += 1

    async def _requests(self) -> None:
        async with httpx.AsyncClient(timeout=30) as client:
            while not self.stop.is_set():
                answer = await client.get(self._server.url + "/")
                self.seen[str(answer.status_code)] += 1


async def test_a_reload_fails_no_request_and_closes_no_socket_and_a_death_costs_what_was_under_way(
    headgate_server: StartHeadgate, workdir: Path
) -> None:
    (workdir / "reloaded.py").write_text(APP)
    server = await asyncio.to_thread(
        headgate_server, "reloaded:app", "--workers", "2", "--jobs", "0", app_folder=workdir
    )
    users = Users(server)
    await users.pass_some()

    await asyncio.to_thread(server.command, "reload", seconds=90)
    seen = await users.pass_some()
    assert set(seen) <= {"socket", "200"}, seen

    for _ in range(2):
        await asyncio.to_thread(server.kill, "app")
        await users.pass_some(50)
    seen = await users.pass_some()
    assert seen["502"] <= 4, "only what the dead worker was at"
    await users.finish()


async def test_a_gateway_that_is_killed_is_back_with_all_its_workers(
    headgate_server: StartHeadgate, workdir: Path
) -> None:
    (workdir / "killed.py").write_text(APP)
    server = await asyncio.to_thread(headgate_server, "killed:app", "--workers", "1", "--jobs", "0", app_folder=workdir)
    async with connect(server.ws_url + "/ws") as sock:
        await sock.send("{}")
        await sock.recv()
        await asyncio.to_thread(server.kill, "gateway")
        async with asyncio.timeout(10):
            await sock.wait_closed()
    await asyncio.to_thread(until, server.ready, "the gateway is ready again", 30)
    async with asyncio.timeout(20), connect(server.ws_url + "/ws") as sock:
        await sock.send("{}")
        assert json.loads(await sock.recv()) == {"n": 1}
    async with httpx.AsyncClient(timeout=10) as client:
        assert (await client.get(server.url + "/")).text == "ok"
    assert len(server.children()["app"]) == 2, "no app worker was touched"


async def sockets_of(server: Headgate, gateway: int) -> int:
    """What a gateway's metrics say of its WebSockets."""
    reader, writer = await asyncio.open_unix_connection(str(server.data / "run" / f"admin.{gateway}.sock"))
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(10):
        text = (await reader.read()).decode()
    writer.close()
    return int(next(line for line in text.splitlines() if line.startswith("headgate_sockets ")).split()[1])


async def test_a_burst_of_sockets_is_spread_evenly_and_all_of_them_work(
    headgate_server: StartHeadgate, workdir: Path
) -> None:
    (workdir / "spread.py").write_text(APP)
    options = ("--workers", "1", "--jobs", "0", "--gateways", "3")
    server = await asyncio.to_thread(headgate_server, "spread:app", *options, app_folder=workdir)
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        opening = [stack.enter_async_context(connect(server.ws_url + "/ws", open_timeout=30)) for _ in range(90)]
        socks = await asyncio.gather(*opening)
        held = [await sockets_of(server, gateway) for gateway in range(3)]
        assert sum(held) == 90
        assert max(held) / min(held) <= 1.3, held
        for sock in socks:
            await sock.send("{}")
        assert {await sock.recv() for sock in socks} == {'{"n":1}'}
