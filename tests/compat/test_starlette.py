"""What Starlette and Quart offer their users, feature by feature, unchanged behind a real gateway.

It is a conformance set of our own, by the chapters of their documentation: responses, requests, middleware,
mounting, static files, background tasks, exceptions, WebSockets, lifespan; and the same of Quart.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.folders import short_folder
from tests.support.headgate import Headgate
from tests.support.sockets import open_socket
from tests.support.wait import until

STARLETTE = '''
import asyncio, contextlib
from pathlib import Path
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.exceptions import HTTPException, WebSocketException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import (
    FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse,
)
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocketDisconnect

HERE = Path(__file__).parent

@contextlib.asynccontextmanager
async def lifespan(app):
    yield {"pool": ["open"]}

async def form(request):
    data = await request.body()
    return JSONResponse({"url": str(request.url), "base": str(request.base_url), "length": len(data),
                         "cookies": request.cookies, "client": request.client.host,
                         "query": request.query_params.multi_items(), "type": request.headers.get("content-type")})

async def chunks(request):
    sizes = [len(chunk) async for chunk in request.stream() if chunk]
    return JSONResponse({"total": sum(sizes)})

async def early(request):
    """Answers without reading its body."""
    return PlainTextResponse("no, thank you", status_code=403)

async def cookies(request):
    answer = PlainTextResponse("set")
    answer.set_cookie("a", "1", httponly=True)
    answer.set_cookie("b", "2", path="/x")
    answer.delete_cookie("c")
    return answer

async def count(request):
    request.session["n"] = request.session.get("n", 0) + 1
    return JSONResponse(request.session["n"])

async def background(request):
    async def later():
        await asyncio.sleep(0.2)
        print("background is done")
    return PlainTextResponse("at once", background=BackgroundTask(later))

async def endless(request):
    async def body():
        try:
            while not await request.is_disconnected():
                yield b"tick"
                await asyncio.sleep(0.01)
        finally:
            print("the endless stream has ended")
    return StreamingResponse(body())

async def waits_for_the_client(request):
    while not await request.is_disconnected():
        await asyncio.sleep(0.01)
    print("told that the client went away")
    return PlainTextResponse("nobody reads this")

async def events(request):
    async def body():
        for number in range(3):
            yield f"id: {number}\\ndata: {number}\\n\\n"
    return StreamingResponse(body(), media_type="text/event-stream")

async def breaks_off(request):
    async def body():
        yield b"first"
        raise RuntimeError("in the middle")
    return StreamingResponse(body(), headers={"content-length": "1000"})

async def raises(request):
    raise HTTPException(418, "short and stout", headers={"x-why": "tea"})

async def on_lookup(request, exc):
    return JSONResponse({"lookup": str(exc)}, status_code=409)

async def looks_up(request):
    raise LookupError("nothing there")

class Things(HTTPEndpoint):
    async def get(self, request):
        return JSONResponse({"thing": request.path_params["name"]})
    async def delete(self, request):
        return Response(status_code=204)

class Timed(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        answer = await call_next(request)
        answer.headers["x-through"] = "middleware"
        return answer

async def denied(socket):
    await socket.send_denial_response(JSONResponse({"error": "log in"}, 401, headers={"www-authenticate": "Bearer"}))

async def refused(socket):
    await socket.close(1008)

async def chosen(socket):
    await socket.accept(subprotocol="v2", headers=[(b"x-room", b"blue")])
    await socket.send_json({"offered": socket.scope["subprotocols"], "pool": socket.state.pool,
                            "query": dict(socket.query_params), "path": socket.url.path})
    await socket.close(4001, "enough of it")

async def mirror(socket):
    await socket.accept()
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message["code"], message.get("reason"))
            if message.get("bytes") is not None:
                await socket.send_bytes(message["bytes"])
            else:
                await socket.send_text(message["text"])
    except WebSocketDisconnect as exc:
        print(f"mirror ended with {exc.code} {exc.reason!r}")

async def policy(socket):
    await socket.accept()
    await socket.receive_text()
    raise WebSocketException(1008, "not allowed")

async def clock(socket):
    """Sends while it receives."""
    await socket.accept()
    async def ticks():
        for number in range(3):
            await socket.send_text(f"tick {number}")
    ticking = asyncio.create_task(ticks())
    said = await socket.receive_text()
    await ticking
    await socket.send_text(said)

class Shouts(WebSocketEndpoint):
    encoding = "json"
    async def on_receive(self, socket, data):
        await socket.send_json({"shout": data["say"].upper()})

def where(request):
    link = str(request.url_for("where"))
    return JSONResponse({"root": request.scope["root_path"], "path": request.url.path, "link": link})

inner = Starlette(routes=[Route("/where", where)])

app = Starlette(
    lifespan=lifespan,
    exception_handlers={LookupError: on_lookup},
    routes=[
        Route("/form", form, methods=["POST"]), Route("/chunks", chunks, methods=["POST"]),
        Route("/early", early, methods=["POST"]),
        Route("/cookies", cookies, middleware=[Middleware(Timed)]), Route("/count", count),
        Route("/background", background), Route("/endless", endless), Route("/waits", waits_for_the_client),
        Route("/events", events), Route("/breaks-off", breaks_off), Route("/raises", raises),
        Route("/looks-up", looks_up), Route("/things/{name:path}", Things),
        Route("/file", lambda request: FileResponse(HERE / "static" / "big.txt")),
        Route("/html", lambda request: HTMLResponse("<p>" + "long " * 500)),
        Route("/go", lambda request: RedirectResponse("/html", 307)),
        Mount("/inner", inner), Mount("/static", StaticFiles(directory=HERE / "static", html=True)),
        WebSocketRoute("/denied", denied), WebSocketRoute("/refused", refused), WebSocketRoute("/chosen", chosen),
        WebSocketRoute("/mirror", mirror), WebSocketRoute("/policy", policy), WebSocketRoute("/clock", clock),
        WebSocketRoute("/shouts", Shouts),
    ],
    middleware=[
        Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1"]),
        Middleware(CORSMiddleware, allow_origins=["https://shop.example"], allow_methods=["PUT"]),
        Middleware(SessionMiddleware, secret_key="for the test"),
        Middleware(GZipMiddleware, minimum_size=1000),
    ],
)
'''
BIG = "".join(f"{number:09d}\n" for number in range(20_000))

QUART = """
import asyncio
from quart import Quart, abort, g, jsonify, make_response, redirect, request, session, stream_with_context, websocket

app = Quart(__name__)
app.secret_key = "for the test"

@app.before_serving
async def up():
    app.pool = "open"

@app.after_serving
async def down():
    print("quart is down")

@app.before_request
async def before():
    g.seen = request.headers.get("X-Team", "none")

@app.after_request
async def after(answer):
    answer.headers["x-after"] = "1"
    return answer

@app.route("/who")
async def who():
    session["n"] = session.get("n", 0) + 1
    told = {"args": request.args.getlist("a"), "remote": request.remote_addr}
    return jsonify(team=g.seen, n=session["n"], pool=app.pool, **told)

@app.post("/form")
async def form():
    return dict(await request.form)

@app.post("/stream-in")
async def stream_in():
    total = 0
    async for piece in request.body:
        total += len(piece)
    return str(total)

@app.route("/stream-out")
async def stream_out():
    @stream_with_context
    async def body():
        for number in range(5):
            yield f"{number} {request.path};".encode()
    return body(), 200, {"x-kind": "stream"}

@app.route("/later")
async def later():
    async def work():
        await asyncio.sleep(0.1)
        print("quart's background is done")
    app.add_background_task(work)
    return "", 202

@app.route("/go")
async def go():
    return redirect("/who")

@app.errorhandler(418)
async def teapot(error):
    return "short and stout", 418

@app.route("/tea")
async def tea():
    abort(418)

@app.route("/sync")
def sync():
    return "from a thread"

@app.websocket("/closed")
async def closed():
    abort(403)

@app.websocket("/late")
async def late():
    await websocket.accept(headers={"x-late": "1"}, subprotocol="b")
    await websocket.send_json({"offered": websocket.requested_subprotocols})
    await websocket.close(4002, "done here")

@app.websocket("/both")
async def both():
    try:
        while True:
            await websocket.send(await websocket.receive())
    except asyncio.CancelledError:
        print("quart's socket was told of its end")
        raise
"""


def serve(name: str, code: str) -> Iterator[Headgate]:
    folder = short_folder(name)
    (folder / "app.py").write_text(code)
    (folder / "static").mkdir()
    (folder / "static" / "big.txt").write_text(BIG)
    (folder / "static" / "index.html").write_text("<h1>inside</h1>")
    with Headgate("app:app", folder, "--stop-timeout", "3", "--jobs", "0") as server:
        yield server


@pytest.fixture(scope="module")
def server() -> Iterator[Headgate]:
    yield from serve("starlette", STARLETTE)


@pytest.fixture(scope="module")
def quart() -> Iterator[Headgate]:
    yield from serve("quart", QUART)


@pytest.fixture
def client(server: Headgate) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=20) as client:
        yield client


@pytest.fixture
def quart_client(quart: Headgate) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=quart.url, timeout=20) as client:
        yield client


# requests


def test_a_request_in_all_its_parts(client: httpx.Client, server: Headgate) -> None:
    answer = client.post("/form?a=1&a=%C3%A9", data={"x": "y"}, headers={"Cookie": "seen=yes; n=1"})
    assert answer.json() == {
        "url": f"{server.url}/form?a=1&a=%C3%A9", "base": f"{server.url}/", "length": 3,
        "cookies": {"seen": "yes", "n": "1"}, "client": "127.0.0.1", "query": [["a", "1"], ["a", "é"]],
        "type": "application/x-www-form-urlencoded",
    }  # fmt: skip


@pytest.mark.parametrize("size", [1, 70_000, 1_500_000])
def test_a_body_in_chunks_without_a_length(client: httpx.Client, size: int) -> None:
    pieces = (b"x" * min(9_000, size - at) for at in range(0, size, 9_000))
    assert client.post("/chunks", content=pieces).json() == {"total": size}


def test_an_answer_without_reading_the_body(client: httpx.Client) -> None:
    for _ in range(3):  # on one connection
        assert client.post("/early", content=b"x" * 300_000).status_code == 403


def test_a_client_that_goes_away_is_seen_by_the_request(server: Headgate) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{server.url}/waits", timeout=0.5)
    until(lambda: "told that the client went away" in server.log(), "is_disconnected()")


# responses


def test_cookies_sessions_and_middleware(client: httpx.Client) -> None:
    answer = client.get("/cookies")
    assert len(answer.headers.get_list("set-cookie")) == 3
    assert answer.headers["x-through"] == "middleware"
    assert [client.get("/count").json() for _ in range(3)] == [1, 2, 3]


def test_a_file_by_range_and_by_condition(client: httpx.Client) -> None:
    whole = client.get("/file")
    assert whole.text == BIG
    part = client.get("/file", headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.text) == (206, BIG[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(BIG)}"
    several = client.get("/file", headers={"Range": "bytes=0-9,20-29"})
    assert several.headers["content-type"].startswith("multipart/byteranges")
    assert client.get("/file", headers={"Range": "bytes=999999-"}).status_code == 416
    static = client.get("/static/big.txt")
    assert client.get("/static/big.txt", headers={"If-None-Match": static.headers["etag"]}).status_code == 304
    head = client.head("/file")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(BIG)), b"")
    assert client.get("/static/").text == "<h1>inside</h1>"
    assert client.get("/static/none").status_code == 404


def test_compression_redirects_and_empty_answers(client: httpx.Client) -> None:
    with client.stream("GET", "/html", headers={"Accept-Encoding": "gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
        assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(raw).startswith(b"<p>long ")
    assert client.get("/go").headers["location"] == "/html"
    gone = client.delete("/things/a/b")
    assert (gone.status_code, gone.content) == (204, b"")
    assert client.get("/things/a/b").json() == {"thing": "a/b"}
    assert client.put("/things/a").status_code == 405


def test_cors_and_trusted_hosts(client: httpx.Client) -> None:
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "PUT"}
    answer = client.options("/things/a", headers=asked)
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert client.get("/things/a", headers={"Host": "evil.example"}).status_code == 400


def test_background_work_comes_after_the_answer(client: httpx.Client, server: Headgate) -> None:
    assert client.get("/background").text == "at once"
    until(lambda: "background is done" in server.log(), "the background task")


def test_server_sent_events(client: httpx.Client) -> None:
    answer = client.get("/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text == "id: 0\ndata: 0\n\nid: 1\ndata: 1\n\nid: 2\ndata: 2\n\n"


def test_a_stream_ends_with_its_client(server: Headgate) -> None:
    with httpx.stream("GET", f"{server.url}/endless", timeout=20) as answer:
        assert next(answer.iter_bytes())
    until(lambda: "the endless stream has ended" in server.log(), "the end of the generator")


def test_a_stream_that_breaks_off_is_seen_as_broken(client: httpx.Client) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/breaks-off")


def test_exceptions_and_their_handlers(client: httpx.Client) -> None:
    answer = client.get("/raises")
    assert (answer.status_code, answer.text, answer.headers["x-why"]) == (418, "short and stout", "tea")
    assert client.get("/looks-up").json() == {"lookup": "nothing there"}


def test_a_mounted_app_knows_where_it_is(client: httpx.Client, server: Headgate) -> None:
    assert client.get("/inner/where").json() == {
        "root": "/inner", "path": "/inner/where", "link": f"{server.url}/inner/where"
    }  # fmt: skip


# WebSockets


def test_a_handshake_denied_with_a_response(server: Headgate) -> None:
    with pytest.raises(InvalidStatus) as caught, open_socket(f"{server.ws_url}/denied"):
        pass
    answer = caught.value.response
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert json.loads(answer.body or b"") == {"error": "log in"}
    for path in ("/refused", "/nowhere"):
        with pytest.raises(InvalidStatus) as caught, open_socket(f"{server.ws_url}{path}"):
            pass
        assert caught.value.response.status_code in (403, 404)


def ended(receive: Callable[[], object]) -> tuple[int | None, str | None]:
    with pytest.raises(ConnectionClosed) as caught:
        receive()
    return (caught.value.rcvd.code, caught.value.rcvd.reason) if caught.value.rcvd else (None, None)


def test_subprotocol_headers_state_and_close(server: Headgate) -> None:
    with open_socket(f"{server.ws_url}/chosen?a=1", subprotocols=["v1", "v2"]) as sock:
        assert sock.connection.subprotocol == "v2"
        assert sock.connection.response is not None
        assert sock.connection.response.headers["x-room"] == "blue"
        assert sock.receive() == {"offered": ["v1", "v2"], "pool": ["open"], "query": {"a": "1"}, "path": "/chosen"}
        assert ended(sock.receive) == (4001, "enough of it")


def test_text_bytes_and_the_clients_close(server: Headgate) -> None:
    with open_socket(f"{server.ws_url}/mirror") as sock:
        for message in ("é" * 10, b"\x00\xff", "", b"", "x" * 300_000):
            sock.connection.send(message)
            assert sock.connection.recv(timeout=10) == message
        sock.connection.close(4321, "my own reasons")
    until(lambda: "mirror ended with 4321 'my own reasons'" in server.log(), "the code arrives")


def test_sending_while_receiving_and_the_endpoint_class(server: Headgate) -> None:
    with open_socket(f"{server.ws_url}/clock") as sock:
        assert [sock.receive() for _ in range(3)] == ["tick 0", "tick 1", "tick 2"]
        assert sock.ask("hi") == "hi"
    with open_socket(f"{server.ws_url}/shouts") as sock:
        assert sock.ask({"say": "hi"}) == {"shout": "HI"}
    with open_socket(f"{server.ws_url}/policy") as sock:
        sock.send("x")
        assert ended(sock.receive) == (1008, "not allowed")


# Quart


def test_quarts_requests(quart_client: httpx.Client) -> None:
    answer = quart_client.get("/who?a=1&a=2", headers={"X-Team": "blue"})
    assert answer.json() == {"team": "blue", "n": 1, "pool": "open", "args": ["1", "2"], "remote": "127.0.0.1"}
    assert answer.headers["x-after"] == "1"
    assert quart_client.get("/go", follow_redirects=True).json()["n"] == 2
    assert quart_client.post("/form", data={"a": "1"}).json() == {"a": "1"}
    assert quart_client.post("/stream-in", content=(b"x" * 9_000 for _ in range(50))).text == "450000"
    assert quart_client.get("/tea").text == "short and stout"
    assert quart_client.get("/sync").text == "from a thread"


def test_quarts_streams_and_background_work(quart_client: httpx.Client, quart: Headgate) -> None:
    answer = quart_client.get("/stream-out")
    assert (answer.text, answer.headers["x-kind"]) == ("".join(f"{n} /stream-out;" for n in range(5)), "stream")
    assert quart_client.get("/later").status_code == 202
    until(lambda: "quart's background is done" in quart.log(), "the background task")


def test_quarts_websockets(quart: Headgate) -> None:
    with pytest.raises(InvalidStatus) as caught, open_socket(f"{quart.ws_url}/closed"):
        pass
    assert caught.value.response.status_code == 403
    with open_socket(f"{quart.ws_url}/late", subprotocols=["a", "b"]) as sock:
        assert sock.connection.subprotocol == "b"
        assert sock.receive() == {"offered": ["a", "b"]}
        assert ended(sock.receive) == (4002, "done here")
    with open_socket(f"{quart.ws_url}/both") as sock:
        assert sock.ask(b"\x00") == b"\x00"
        assert sock.ask("text") == "text"
    until(lambda: "quart's socket was told of its end" in quart.log(), "the handler's end")


def test_quarts_end(quart: Headgate) -> None:
    """The last test of its server: it stops it."""
    assert quart.stop() == 0
    assert "quart is down" in quart.log()
