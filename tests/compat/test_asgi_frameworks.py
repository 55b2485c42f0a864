"""FastAPI and Quart apps, unchanged, behind a real gateway."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from tests.support.folders import short_folder
from tests.support.headgate import Headgate
from tests.support.sockets import open_socket
from tests.support.wait import until

FASTAPI = """
import asyncio, contextlib, os
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse
from headgate import Headgate

gate = Headgate()

@contextlib.asynccontextmanager
async def lifespan(app):
    print("app is up")
    yield {"pool": "open"}
    print("app is down")

app = FastAPI(lifespan=lifespan)

@gate.job
def double(job, number: int):
    return 2 * number

@app.get("/items/{item_id}")
async def item(item_id: int, request: Request, q: str = ""):
    return {"item": item_id, "q": q, "pool": request.state.pool}

@app.get("/sync/{number}")
def sync(number: int):
    return {"doubled": double.enqueue(number).wait(30)}

@app.post("/upload")
async def upload(request: Request):
    return {"size": sum([len(chunk) async for chunk in request.stream()])}

@app.get("/stream/{blocks}")
async def stream(blocks: int):
    async def body():
        for _ in range(blocks):
            yield b"x" * 65536
    return StreamingResponse(body())

@app.get("/endless")
async def endless():
    async def body():
        try:
            while True:
                yield b"tick"
                await asyncio.sleep(0.01)
        finally:
            print("endless closed")
    return StreamingResponse(body())

@app.get("/breaks")
async def breaks():
    raise RuntimeError("the route's own trouble")

@app.websocket("/ws/{room}")
async def ws(socket: WebSocket, room: str):
    if room == "closed":
        await socket.close()
        return
    await socket.accept()
    try:
        async for text in socket.iter_text():
            await socket.send_json({"room": room, "said": text})
    finally:
        print(f"ws {room} ended")

@gate.socket("/native")
def native(sock, message):
    handle = double.enqueue(message["number"])
    sock.follow(handle)
    return {"job_id": handle.id}
"""

QUART = """
from quart import Quart, request, websocket

app = Quart(__name__)

@app.post("/echo/<int:number>")
async def echo(number):
    return {"number": number, "body": await request.get_json()}

@app.websocket("/ws")
async def ws():
    while True:
        await websocket.send((await websocket.receive()).upper())
"""


def serve(name: str, code: str, *options: str) -> Iterator[Headgate]:
    folder = short_folder(name)
    (folder / "app.py").write_text(code)
    with Headgate("app:app", folder, "--stop-timeout", "3", *options) as server:
        yield server


@pytest.fixture(scope="module")
def fast() -> Iterator[Headgate]:
    yield from serve("fastapi", FASTAPI, "--jobs", "1")


@pytest.fixture(scope="module")
def quart() -> Iterator[Headgate]:
    yield from serve("quart", QUART, "--jobs", "0")


def test_routes_with_parameters_and_lifespan_state(fast: Headgate) -> None:
    answer = httpx.get(f"{fast.url}/items/7", params={"q": "é"}, timeout=20)
    assert answer.json() == {"item": 7, "q": "é", "pool": "open"}
    assert httpx.get(f"{fast.url}/items/x", timeout=20).status_code == 422
    assert httpx.get(f"{fast.url}/nothing", timeout=20).status_code == 404


def test_a_plain_function_may_block_on_a_job(fast: Headgate) -> None:
    assert httpx.get(f"{fast.url}/sync/21", timeout=40).json() == {"doubled": 42}


@pytest.mark.parametrize("size", [10, 2_000_000])
def test_an_upload(fast: Headgate, size: int) -> None:
    assert httpx.post(f"{fast.url}/upload", content=b"x" * size, timeout=20).json() == {"size": size}


def test_a_large_stream_arrives_whole(fast: Headgate) -> None:
    assert len(httpx.get(f"{fast.url}/stream/50", timeout=20).content) == 50 * 65536


def test_a_client_that_goes_away_ends_its_stream(fast: Headgate) -> None:
    with httpx.stream("GET", f"{fast.url}/endless", timeout=20) as answer:
        assert next(answer.iter_bytes())
    until(lambda: "endless closed" in fast.log(), "the end of the generator")


def test_a_route_that_raises_is_500(fast: Headgate) -> None:
    assert httpx.get(f"{fast.url}/breaks", timeout=20).status_code == 500
    until(lambda: "the route's own trouble" in fast.log(), "the traceback")


def test_a_websocket_and_its_end(fast: Headgate) -> None:
    with open_socket(f"{fast.ws_url}/ws/blue") as sock:
        assert sock.ask("hi") == {"room": "blue", "said": "hi"}
    until(lambda: "ws blue ended" in fast.log(), "the end of the handler")
    with pytest.raises(InvalidStatus) as caught, open_socket(f"{fast.ws_url}/ws/closed"):
        pass
    assert caught.value.response.status_code == 403


def test_a_native_socket_beside_it_follows_a_job(fast: Headgate) -> None:
    with open_socket(f"{fast.ws_url}/native") as sock:
        sock.send({"number": 4})
        last = sock.receive(20)
        while not last.get("terminal"):
            last = sock.receive(20)
        assert last["data"] == {"result": 8}


def test_quart_http_and_websocket(quart: Headgate) -> None:
    assert httpx.post(f"{quart.url}/echo/3", json=[1], timeout=20).json() == {"number": 3, "body": [1]}
    with open_socket(f"{quart.ws_url}/ws") as sock:
        assert sock.ask("hi") == "HI"


def test_the_shutdown_runs_at_the_stop(fast: Headgate) -> None:
    """The last test of its server: it stops it."""
    assert fast.stop() == 0
    assert fast.log().count("app is up") == fast.log().count("app is down") > 0
