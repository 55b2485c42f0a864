"""Streams in a gateway of the test's own: the hook of any app, coming back on sockets, slow readers, the end."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from headgate.base.model import NewEvent
from headgate.base.streams import MESSAGE, StreamSpec, Write
from headgate.base.tokens import Tokens, stream_url
from headgate.drivers.memory import MemoryEngine
from headgate.link.messages import Accept, Effect, Open, Request
from tests.process.gateway_rig import FakeWorker, Rig, quick, until

pytestmark = pytest.mark.anyio
HOOK = "/-/streams-access"
TOKENS = Tokens("s" * 32)


async def append(engine: MemoryEngine, stream: str, *values: Any, close: bool = False) -> None:
    events = [NewEvent(MESSAGE, value) for value in values]
    await engine.streams.write(stream, Write(events=events, close=close, spec=StreamSpec()))


class Asked(FakeWorker):
    """An app with a hook: what it answers is the test's."""

    def __init__(self, *known: Any) -> None:
        super().__init__(*known)
        self.hello.rules.append((f"GET {HOOK}", HOOK))
        self.status = 204
        self.questions: list[Request] = []
        self.on_request = self.answer

    def answer(self, request: Request) -> None:
        self.questions.append(request)
        self.respond(request, b"", status=self.status)


async def get(rig: Rig, path: str, **options: Any) -> httpx.Response:
    async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
        return await client.get(rig.url + path, **options)


async def test_the_app_is_asked_as_the_client() -> None:
    engine = MemoryEngine()
    async with Rig(engine, lane={f"GET {HOOK}": "fast"}) as rig:
        await until(lambda: rig.gateway._engine_open, "the engine")
        await append(engine, "a/b", 1)
        worker = Asked("w1")
        await worker.connect(rig.link_path)
        answer = await get(
            rig, "/-/streams/a/b?offset=-1", headers={"cookie": "user=ann", "x-forwarded-for": "10.9.8.7"}
        )
        assert (answer.status_code, answer.json()) == (200, [1])
        assert answer.headers["cache-control"].startswith("private")
        (question,) = worker.questions
        assert (question.scope.method, question.scope.path) == ("GET", HOOK)
        assert question.scope.query == b"stream=a%2Fb&access=read"
        assert (b"cookie", b"user=ann") in question.scope.headers
        worker.status = 403
        denied = await get(rig, "/-/streams/a/b")
        missing = await get(rig, "/-/streams/nowhere")
        assert (denied.status_code, denied.content) == (404, missing.content)
        assert (await get(rig, HOOK + "?stream=a/b&access=read")).status_code == 404, "nobody asks it from outside"
        asked = len(worker.questions)
        assert (await get(rig, stream_url(TOKENS, "a/b", 60))).status_code == 200
        assert len(worker.questions) == asked, "who has the address is not asked about"
        worker.on_request = worker.hold
        pending = asyncio.create_task(get(rig, "/-/streams/a/b"))
        await worker.next(Request, asked + 1)
        await worker.die()
        assert (await quick(pending)).status_code == 503


async def test_live_reads_end_when_the_gateway_does() -> None:
    engine = MemoryEngine()
    async with Rig(engine) as rig:
        await until(lambda: rig.gateway._engine_open, "the engine")
        await append(engine, "s", 1)
        url = stream_url(TOKENS, "s", 60)
        events = asyncio.create_task(get(rig, f"{url}&live=sse&offset=-1"))
        poll = asyncio.create_task(get(rig, f"{url}&live=long-poll&offset=0000000000000001"))
        await until(lambda: rig.gateway.streams.readers == 2, "both wait")
        await quick(rig.finish(5.0))
        assert (await quick(poll)).status_code == 204
        told = (await quick(events)).text
        assert "data:[1]" in told
        assert told.startswith("retry: ")


async def test_a_socket_comes_back_with_its_tokens_and_no_handler_runs() -> None:
    engine = MemoryEngine()
    async with Rig(engine) as rig:
        await until(lambda: rig.gateway._engine_open, "the engine")
        await append(engine, "s", "one", "two")
        worker = await rig.worker()

        def follows(handshake: Open) -> None:
            worker.accept(handshake, effects=[Effect("follow", ["s", 0])])

        worker.on_open = follows
        async with connect(f"{rig.ws_url}/ws", proxy=None) as ws:
            await ws.send('{"headgate":"resume","streams":{}}')
            said = [json.loads(await quick(ws.recv())) for _ in range(4)]
        token = next(one["token"] for one in said if one["headgate"] == "following")
        assert [one["data"] for one in said if one["headgate"] == "event"] == ["one", "two"]
        await append(engine, "s", "three")
        worker.on_open = worker.accept
        messages = len(worker.seen(Accept))
        async with connect(f"{rig.ws_url}/ws", proxy=None) as ws:
            resume = {"headgate": "resume", "streams": {"s": ["0000000000000002", token], "t": ["0", token]}}
            await ws.send(json.dumps(resume))
            said = [json.loads(await quick(ws.recv())) for _ in range(4)]
            events = {one["stream"]: one for one in said if one["headgate"] == "event"}
            assert (events["s"]["data"], events["s"]["offset"]) == ("three", "0000000000000003")
            assert (events["t"]["event"], events["t"]["terminal"]) == ("gone", True)
            await append(engine, "s", "four", close=True)
            assert json.loads(await quick(ws.recv()))["data"] == "four"
            await ws.send('{"headgate":"ping"}')
            assert json.loads(await quick(ws.recv())) == {"headgate": "pong"}
        assert len(worker.seen(Accept)) == messages
        assert not [one for one in worker.got if type(one).__name__ == "Message" and one.kind == "message"]


async def test_a_client_that_does_not_read_is_kept_for_in_the_log_alone() -> None:
    engine = MemoryEngine()
    async with Rig(engine, outbox_bytes=256 * 1024) as rig:
        await until(lambda: rig.gateway._engine_open, "the engine")
        await append(engine, "s", 0)
        worker = await rig.worker()
        worker.on_open = lambda one: worker.accept(one, effects=[Effect("follow", ["s", 0])])
        async with connect(f"{rig.ws_url}/ws", proxy=None, max_queue=1, max_size=None) as ws:
            assert json.loads(await quick(ws.recv()))["data"] == 0
            for number in range(1, 200):  # 20 MB in all: more than sockets and outbox hold
                await append(engine, "s", [number, "x" * 100_000])
            await append(engine, "s", close=True)
            (connection,) = rig.gateway.sockets.connections.values()
            held = connection._outbox.bytes if connection._outbox is not None else 0
            assert held <= 256 * 1024
            for number in range(1, 200):
                event = json.loads(await quick(ws.recv()))
                assert (int(event["offset"]), event["data"][0]) == (number + 1, number)
            assert json.loads(await quick(ws.recv()))["terminal"] is True
        assert rig.gateway.sockets.closed_slow == 0
