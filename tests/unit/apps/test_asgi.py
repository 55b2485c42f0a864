"""ASGI apps behind a link: the specification from the app's side, and three frameworks unchanged."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import fastapi
import pytest
import quart
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from headgate.apps.lifespan import Lifespan, StartupFailed
from headgate.base.errors import HeadgateError
from headgate.declare import registry
from headgate.declare.extension import Headgate
from headgate.link.messages import (
    WINDOW,
    Accept,
    Answer,
    Chunk,
    Closed,
    Consumed,
    Credit,
    Fail,
    Feed,
    Hangup,
    Head,
    Push,
    Reject,
)
from tests.unit.apps.gateway import PATIENCE, FakeGateway, Hosted, eventually, hosted, scope

App = Callable[[Any, Any, Any], Any]
Host = Callable[..., Hosted]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """Hosts an ASGI app for the test."""
    with contextlib.ExitStack() as stack:
        yield lambda app, **plan: stack.enter_context(hosted(app, tmp_path, asgi=True, **plan))


def http_only(app: App) -> App:
    """The app with a lifespan that it refuses, as the specification allows."""

    async def call(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] != "lifespan"
        await app(scope, receive, send)

    return call


def test_the_scope_is_what_the_specification_says(host: Host) -> None:
    seen: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"X-A", b"1")]})
        await send({"type": "http.response.body", "body": b"ok"})

    gateway = host(http_only(app)).gateway
    gateway.request(scope("PUT", "/caf\u00e9", b"q=1", raw_path=b"/caf%C3%A9"))
    head = gateway.expect(Head)
    assert (head.status, head.headers, head.body, head.more) == (200, [(b"x-a", b"1")], b"ok", False)
    wanted = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "PUT",
        "scheme": "http",
        "path": "/caf\u00e9",
        "raw_path": b"/caf%C3%A9",
        "query_string": b"q=1",
        "root_path": "",
        "headers": [(b"host", b"desk.example")],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }
    assert {key: seen[key] for key in wanted} == wanted


@pytest.mark.parametrize("size", [0, 5, 65536, 200_000])
def test_a_spooled_body_comes_in_blocks(host: Host, tmp_path: Path, size: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        got, more = 0, True
        while more:
            event = await receive()
            assert event["type"] == "http.request"
            got += len(event["body"])
            more = event["more_body"]
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": str(got).encode()})

    gateway = host(http_only(app)).gateway
    spool = tmp_path / "body"
    spool.write_bytes(b"x" * size)
    gateway.request(scope("POST"), body_path=str(spool))
    assert gateway.expect(Head).body == str(size).encode()


def test_a_slow_client_holds_the_app_back_at_the_window(host: Host) -> None:
    sent = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(40):
            await send({"type": "http.response.body", "body": b"x" * 20_000, "more_body": True})
            sent += 20_000
        await send({"type": "http.response.body"})

    gateway = host(http_only(app)).gateway
    stream = gateway.request(scope())
    got = len(gateway.expect(Head).body)
    while not gateway.quiet():
        got += len(gateway.expect(Chunk).body)
    assert got <= WINDOW
    assert sent <= WINDOW
    while got < 40 * 20_000:
        gateway.send(Credit(stream, 20_000))
        got += len(gateway.expect(Chunk).body)
    assert gateway.expect(Chunk).more is False


def test_a_client_that_goes_away_is_told_to_receive_and_to_send(host: Host) -> None:
    seen: list[str] = []
    done = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        seen.append((await receive())["type"])
        try:
            await send({"type": "http.response.body", "body": b"more"})
        except OSError as exc:
            seen.append(type(exc).__name__)
        done.set()

    gateway = host(http_only(app)).gateway
    stream = gateway.request(scope())
    gateway.expect(Head)
    gateway.cancel(stream)
    assert done.wait(PATIENCE)
    assert seen == ["http.disconnect", "ClientGone"]
    assert gateway.expect(Fail).error_id == ""


async def _silent(scope: Any, receive: Any, send: Any) -> None: ...


async def _raising(scope: Any, receive: Any, send: Any) -> None:
    raise KeyError("the price")


async def _body_first(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.body", "body": b"x"})


async def _twice(scope: Any, receive: Any, send: Any) -> None:
    for _ in range(2):
        await send({"type": "http.response.start", "status": 200, "headers": []})


@pytest.mark.parametrize(
    ("app", "part"),
    [(_silent, "before its response"), (_raising, "the price"), (_body_first, "cannot be sent"), (_twice, "cannot be")],
)
def test_an_app_that_breaks_fails_with_an_id(host: Host, caplog: pytest.LogCaptureFixture, app: App, part: str) -> None:
    gateway = host(http_only(app)).gateway
    gateway.request(scope())
    assert gateway.expect(Fail).error_id in caplog.text
    assert part in caplog.text


def test_head_and_204_have_no_body(host: Host) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        status = 204 if scope["path"] == "/none" else 200
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"surplus", "more_body": True})
        await send({"type": "http.response.body", "body": b"more"})

    gateway = host(http_only(app)).gateway
    gateway.request(scope("HEAD"))
    assert gateway.answer()[1] == b""
    gateway.request(scope(path="/none"))
    assert gateway.answer()[1] == b""


class Echo:
    """A WebSocket app by the letter of the specification."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError("none")
        assert (await receive()) == {"type": "websocket.connect"}
        match scope["path"]:
            case "/close":
                await send({"type": "websocket.close"})
                return
            case "/deny":
                await send({"type": "websocket.http.response.start", "status": 402, "headers": [(b"X-Pay", b"1")]})
                await send({"type": "websocket.http.response.body", "body": b"pay ", "more_body": True})
                await send({"type": "websocket.http.response.body", "body": b"first"})
                return
            case "/raise":
                raise RuntimeError("handshake trouble")
            case "/silent":
                return
        headers = [(b"x-hello", b"1")]
        await send({"type": "websocket.accept", "subprotocol": "v2", "headers": headers})
        await self.talk(scope, receive, send)

    async def talk(self, scope: Any, receive: Any, send: Any) -> None:
        while True:
            event = await receive()
            self.seen.append(event)
            if event["type"] == "websocket.disconnect":
                assert await receive() == event
                return
            if event["text"] == "raise":
                raise RuntimeError("loop trouble")
            if event["text"] == "close":
                await send({"type": "websocket.close", "code": 4000, "reason": "as asked"})
                assert (await receive())["type"] == "websocket.disconnect"
                return
            await send({"type": "websocket.send", **{k: v for k, v in event.items() if k != "type" and v is not None}})


def begin(gateway: FakeGateway, path: str = "/echo") -> tuple[int, Accept]:
    stream = gateway.open(scope(path=path, scheme="ws", subprotocols=["v2"]))
    return stream, gateway.next(Accept)


def test_a_websocket_echoes_until_the_client_goes(host: Host) -> None:
    app = Echo()
    gateway = host(app, inbox=8).gateway
    stream, accept = begin(gateway)
    assert (accept.native, accept.subprotocol, accept.headers) == (False, "v2", [(b"x-hello", b"1")])
    gateway.send(Feed(stream, "text"))
    gateway.send(Feed(stream, b"\x00"))
    got = [gateway.receive() for _ in range(3)]
    assert [message.data for message in got if isinstance(message, Push)] == ["text", b"\x00"]
    assert [message.count for message in got if isinstance(message, Consumed)] == [2]
    gateway.send(Closed(stream, 1001, "tab closed"))
    assert gateway.next(Hangup).stream == stream
    assert app.seen[-1] == {"type": "websocket.disconnect", "code": 1001, "reason": "tab closed"}


def test_the_app_closes_the_websocket(host: Host) -> None:
    gateway = host(Echo()).gateway
    stream, _ = begin(gateway)
    gateway.send(Feed(stream, "close"))
    hangup = gateway.next(Hangup)
    assert (hangup.code, hangup.reason) == (4000, "as asked")
    assert gateway.quiet()


def test_an_app_that_raises_in_a_websocket_ends_it_with_1011(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    gateway = host(Echo()).gateway
    stream, _ = begin(gateway)
    gateway.send(Feed(stream, "raise"))
    assert gateway.next(Hangup).code == 1011
    assert "loop trouble" in caplog.text


@pytest.mark.parametrize(
    ("path", "status", "body"), [("/close", 403, b"does not accept"), ("/deny", 402, b"pay first")]
)
def test_a_handshake_is_denied(host: Host, path: str, status: int, body: bytes) -> None:
    gateway = host(Echo()).gateway
    gateway.open(scope(path=path))
    reject = gateway.expect(Reject)
    assert reject.status == status
    assert body in reject.body


@pytest.mark.parametrize("path", ["/raise", "/silent"])
def test_a_handshake_that_fails_has_an_id(host: Host, caplog: pytest.LogCaptureFixture, path: str) -> None:
    gateway = host(Echo()).gateway
    gateway.open(scope(path=path))
    assert gateway.expect(Fail).error_id in caplog.text


def test_at_the_end_websockets_are_told_to_come_back(host: Host) -> None:
    app = Echo()
    held = host(app)
    begin(held.gateway)
    held.call(held.host.end)
    assert held.gateway.next(Hangup).code == 1012
    assert eventually(lambda: bool(app.seen) and app.seen[-1]["type"] == "websocket.disconnect")


def test_lifespan_state_and_shutdown(host: Host, tmp_path: Path) -> None:
    life: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[dict[str, Any]]:
        life.append("up")
        yield {"pool": "open"}
        life.append("down")

    async def show(request: StarletteRequest) -> Response:
        request.state.own = "not shared"
        return PlainTextResponse(f"{request.state.pool} {len(request.state._state)}")

    app = Starlette(routes=[Route("/show", show)], lifespan=lifespan)
    with hosted(app, tmp_path, asgi=True) as held:
        assert held.gateway.get("/show")[2] == b"open 2"
        assert held.gateway.get("/show")[2] == b"open 2"
    assert life == ["up", "down"]


def test_a_start_up_that_fails_is_a_boot_failure() -> None:
    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        if app is not None:
            raise RuntimeError("no database")
        yield

    async def start() -> None:
        await Lifespan(Starlette(lifespan=lifespan)).start()

    with pytest.raises(StartupFailed, match="no database"):
        asyncio.run(start())
    assert issubclass(StartupFailed, HeadgateError)


async def item(request: StarletteRequest) -> Response:
    return JSONResponse({"item": request.path_params["item_id"], "url": str(request.url)})


async def stream(request: StarletteRequest) -> Response:
    async def body() -> AsyncIterator[str]:
        for number in range(3):
            yield f"{number};"

    return StreamingResponse(body())


async def ws(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_json({"said": text, "room": socket.path_params["room"]})


async def ws_denied(socket: WebSocket) -> None:
    await socket.send_denial_response(PlainTextResponse("not you", status_code=401))


def starlette_app() -> Starlette:
    return Starlette(
        routes=[
            Route("/items/{item_id:int}", item, methods=["GET", "POST"]),
            Route("/stream", stream),
            WebSocketRoute("/ws/{room}", ws),
            WebSocketRoute("/denied", ws_denied),
            Mount("/sub", routes=[Route("/items/{item_id}", item)]),
        ]
    )


def test_starlette_unchanged(host: Host) -> None:
    gateway = host(starlette_app()).gateway
    rules = dict(gateway.hello.rules)
    assert rules["GET /items/<int:item_id>"] == "/items/<int:item_id>"
    assert rules["GET /sub/items/<item_id>"] == "/sub/items/<item_id>"
    assert gateway.hello.pinned["ws /ws/<room>"] == "slow"
    gateway.request(scope(path="/items/7"))
    head = gateway.expect(Head)
    assert json.loads(head.body) == {"item": 7, "url": "http://desk.example/items/7"}
    assert head.handler == "GET /items/<int:item_id>"
    gateway.request(scope(path="/sub/items/x"))
    assert gateway.expect(Head).handler == "GET /sub/items/<item_id>"
    gateway.request(scope(path="/stream"))
    assert gateway.answer()[1] == b"0;1;2;"
    gateway.request(scope(path="/nothing"))
    missing = gateway.expect(Head)
    assert (missing.status, missing.handler) == (404, "GET *")


def test_starlette_websockets_unchanged(host: Host) -> None:
    gateway = host(starlette_app()).gateway
    stream, accept = begin(gateway, "/ws/blue")
    assert accept.handler == "ws /ws/<room>"
    gateway.send(Feed(stream, "hi"))
    assert json.loads(gateway.expect(Push).data) == {"said": "hi", "room": "blue"}
    gateway.send(Closed(stream, 1000, ""))
    assert gateway.next(Hangup).stream == stream
    gateway.open(scope(path="/denied"))
    reject = gateway.expect(Reject)
    assert (reject.status, reject.body) == (401, b"not you")


def test_fastapi_unchanged(host: Host) -> None:
    app = fastapi.FastAPI()

    async def who(x_user: str = fastapi.Header()) -> str:
        return x_user

    @app.get("/orders/{number}")
    def order(number: int, user: str = fastapi.Depends(who)) -> Any:
        """A plain function: Starlette runs it in its own threads."""
        return {"number": number, "user": user, "main": threading.current_thread().name}

    @app.websocket("/live")
    async def live(socket: fastapi.WebSocket) -> None:
        await socket.accept()
        await socket.send_text(await socket.receive_text())
        await socket.close(4001)

    gateway = host(app).gateway
    gateway.request(scope(path="/orders/5", headers=[(b"x-user", b"ann")]))
    head, body = gateway.answer()
    assert head.handler == "GET /orders/<number>"
    assert json.loads(body)["user"] == "ann"
    gateway.request(scope(path="/orders/many"))
    assert gateway.expect(Head).status == 422
    stream, _ = begin(gateway, "/live")
    gateway.send(Feed(stream, "ping"))
    assert gateway.expect(Push).data == "ping"
    assert gateway.next(Hangup).code == 4001


def test_quart_unchanged(host: Host) -> None:
    app = quart.Quart("desk")

    @app.post("/orders/<int:number>")
    async def order(number: int) -> Any:
        return {"number": number, "body": await quart.request.get_json()}

    @app.websocket("/live")
    async def live() -> None:
        while True:
            await quart.websocket.send(await quart.websocket.receive())

    gateway = host(app).gateway
    sent = scope("POST", "/orders/5", headers=[(b"content-type", b"application/json"), (b"content-length", b"2")])
    gateway.request(sent, b"[]")
    head, body = gateway.answer()
    assert head.handler == "POST /orders/<int:number>"
    assert json.loads(body) == {"number": 5, "body": []}
    stream, accept = begin(gateway, "/live")
    assert accept.handler == "ws /live"
    gateway.send(Feed(stream, "ping"))
    assert gateway.expect(Push).data == "ping"
    gateway.send(Closed(stream, 1000, ""))
    assert gateway.next(Hangup).stream == stream


def test_native_sockets_beside_an_asgi_app(host: Host) -> None:
    registry.clear()
    gate = Headgate()

    @gate.socket("/native")
    def native(sock: Any, message: Any) -> Any:
        return {"got": message["n"]}

    try:
        gateway = host(starlette_app()).gateway
        gateway.open(scope(path="/native"))
        assert gateway.expect(Accept).native is True
        gateway.message(scope(path="/native"), '{"n": 1}')
        assert gateway.expect(Answer).data == '{"got":1}'
    finally:
        registry.clear()


def test_a_fast_worker_bounces_what_it_does_not_know(host: Host) -> None:
    gateway = host(starlette_app(), lane="fast").gateway
    stream = gateway.request(scope(path="/items/7"), handler="GET /other")
    bounced = gateway.receive()
    assert (bounced.stream, bounced.handler) == (stream, "GET /items/<int:item_id>")
    gateway.knows(**{"GET /items/<int:item_id>": True})
    gateway.request(scope(path="/items/7"), handler="GET /other")
    assert gateway.expect(Head).status == 200
