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
from websockets.exceptions import ConnectionClosed

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


class Moving:
    """A client that connects again when it is told to, and counts how its connections ended."""

    def __init__(self, server: Headgate) -> None:
        self.codes: Counter[int | None] = Counter()
        self.answers = 0
        self.stop = False
        self._server = server

    async def run(self) -> None:
        while not self.stop:
            async with connect(self._server.ws_url + "/ws", open_timeout=30) as sock:
                try:
                    while not self.stop:
                        await sock.send("{}")
                        await sock.recv()
                        self.answers += 1
                        await asyncio.sleep(0.02)
                except ConnectionClosed:
                    self.codes[sock.close_code] += 1
                    assert "retry in" in (sock.close_reason or "")


async def test_new_gateways_take_over_little_by_little_and_fail_no_request(
    headgate_server: StartHeadgate, workdir: Path
) -> None:
    (workdir / "moved.py").write_text(APP)
    options = ("--workers", "1", "--jobs", "0", "--gateways", "2")
    server = await asyncio.to_thread(
        headgate_server, "moved:app", *options, app_folder=workdir, env={"HEADGATE_MOVE_TIMEOUT": "8"}
    )
    before = server.children()["gateway"]
    clients = [Moving(server) for _ in range(20)]
    running = [asyncio.create_task(one.run()) for one in clients]
    statuses: Counter[int] = Counter()
    done = asyncio.Event()

    async def ask() -> None:
        while not done.is_set():
            async with httpx.AsyncClient(timeout=30) as client:  # a connection of its own each time
                statuses[(await client.get(server.url + "/")).status_code] += 1

    asking = asyncio.create_task(ask())
    async with asyncio.timeout(90):
        while min(one.answers for one in clients) < 5:  # noqa: ASYNC110 - counts of many tasks
            await asyncio.sleep(0.02)
        await asyncio.to_thread(server.command, "reload", "--gateways", seconds=90)
        assert set(before) & set(server.children()["gateway"]), "the old ones serve their sockets still"
        while set(before) & set(server.children()["gateway"]):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)
        answered = [one.answers for one in clients]
        while not any(task.done() for task in running) and any(  # noqa: ASYNC110 - counts of many tasks
            one.answers < was + 5 for one, was in zip(clients, answered, strict=True)
        ):
            await asyncio.sleep(0.02)
        done.set()
        for one in clients:
            one.stop = True
        await asyncio.gather(asking, *running)
    assert [dict(one.codes) for one in clients] == [{1012: 1}] * 20, "each was moved once, and told so"
    assert set(statuses) == {200}, statuses
    assert len(server.children()["gateway"]) == 2
    async with asyncio.timeout(20):
        while sum([await sockets_of(server, gateway) for gateway in range(2)]):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
    links = sorted(path.name for path in (server.data / "run").glob("gateway.*"))
    assert links == ["gateway.0.2.sock", "gateway.1.2.sock"]
    assert "ERROR" not in server.log()


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
    options = ("--workers", "1", "--jobs", "0", "--gateways", "4")
    server = await asyncio.to_thread(headgate_server, "spread:app", *options, app_folder=workdir)
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        opening = [stack.enter_async_context(connect(server.ws_url + "/ws", open_timeout=30)) for _ in range(200)]
        socks = await asyncio.gather(*opening)
        held = [await sockets_of(server, gateway) for gateway in range(4)]
        assert sum(held) == 200
        assert max(held) / min(held) <= 1.3, held
        for sock in socks:
            await sock.send("{}")
        assert {await sock.recv() for sock in socks} == {'{"n":1}'}
