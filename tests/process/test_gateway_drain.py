"""The end of a gateway: first it says that it is not ready, then it turns away what comes, then it closes."""

from __future__ import annotations

import asyncio

import httpx
import pytest
import websockets

from headgate.link.messages import Request
from tests.process.gateway_clients import client
from tests.process.gateway_rig import Rig, quick, until

pytestmark = pytest.mark.anyio


async def get(rig: Rig, path: str = "/") -> httpx.Response:
    async with httpx.AsyncClient(timeout=10) as asking:
        return await asking.get(rig.url + path)


async def test_who_comes_during_the_end_is_told_when_to_come_again() -> None:
    async with Rig() as rig:
        worker = await rig.worker()
        worker.on_request = worker.hold
        asked = asyncio.create_task(get(rig))
        request = await worker.next(Request)
        stopping = asyncio.create_task(rig.finish(8))
        await until(lambda: rig.gateway.web.stopping, "it takes nothing new")
        for _ in range(5):
            late = await get(rig)
            assert (late.status_code, late.json()["error"], late.headers["connection"]) == (503, "stopping", "close")
            assert 1 <= int(late.headers["retry-after"]) <= 5
        assert (await get(rig, "/-/ready")).status_code == 503
        assert (await get(rig, "/-/live")).status_code == 200
        with pytest.raises(websockets.InvalidStatus) as refused:
            await quick(client(rig).__aenter__())
        assert refused.value.response.status_code == 503
        assert len(worker.seen(Request)) == 1, "none of them was run"
        worker.respond(request, b"done")
        assert (await quick(asked)).text == "done"
        await quick(stopping)
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", rig.port)


async def test_a_load_balancer_has_time_to_see_that_it_is_not_ready() -> None:
    async with Rig(unready_time=3, slow_workers=0) as rig:
        await rig.worker()
        assert (await get(rig, "/-/ready")).status_code == 200
        stopping = asyncio.create_task(rig.finish(10))
        await until(rig.gateway.unready, "the stop has begun")
        assert (await get(rig, "/-/ready")).status_code == 503
        assert (await get(rig)).text == "ok", "it serves on meanwhile"
        async with client(rig) as sock:
            await sock.send("x")
            assert await quick(sock.recv()) == "x"
            await until(lambda: rig.gateway.web.stopping, "then it does not")
            await quick(sock.wait_closed())
            assert sock.close_code == 1012
        await quick(stopping)
