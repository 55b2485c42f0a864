"""Native sockets behind a link, in a Flask app and without one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import msgspec
import pytest

from headgate.base.errors import QueueFull
from headgate.declare import registry
from headgate.declare.extension import Headgate
from headgate.declare.socket import Socket
from headgate.link.messages import Accept, Answer, Effect, Effects, Fail, Reject
from tests.unit.apps.gateway import Hosted, hosted, scope

SCOPE = scope(path="/live/7", query=b"who=ann", scheme="ws", headers=[(b"cookie", b"seen=yes"), (b"x-team", b"blue")])


@pytest.fixture(autouse=True)
def afresh() -> Iterator[None]:
    registry.clear()
    yield
    registry.clear()


class Order(msgspec.Struct):
    item: str
    count: int


def flask_app() -> flask.Flask:  # noqa: C901, PLR0915 - one app with a handler for each case
    app = flask.Flask(__name__)
    app.secret_key = "for the test"
    gate = Headgate(app)

    @gate.socket("/live/<int:room>", event_field="do")
    def live(sock: Any, message: Any, room: int) -> Any:
        match message.get("do"):
            case "tell":
                return {
                    "room": room,
                    "who": flask.request.args["who"],
                    "cookie": sock.request.cookies["seen"],
                    "team": flask.request.headers["X-Team"],
                    "session": flask.session.get("user"),
                    "state": dict(sock.state),
                }
            case "effects":
                sock.send("text")
                sock.send(b"bytes")
                sock.json({"a": 1})
                sock.join("desk")
                sock.join("prices", slow="latest")
                sock.leave("desk")
                sock.follow("jobs/1", 4)
                sock.unfollow("jobs/1")
                sock.close(4001, "enough")
                return None
            case "remember":
                sock.state["seen"] = message["what"]
                return None
            case "mutate":
                sock.state["list"].append(1)
                return None
            case "raise":
                raise KeyError("the handler's own trouble")
            case "exit":
                raise SystemExit(1)
            case "full":
                raise QueueFull("no room", retry_after=3.0)
            case "binary":
                return b"\x00\x01"
            case "unsendable":
                return object()
            case "text":
                return "plain"
        return ["list"]

    @live.on_connect
    def connect(sock: Any, room: int) -> Any:
        match room:
            case 403:
                flask.abort(403)
            case 401:
                return flask.jsonify(error="log in"), 401, {"X-Why": "no"}
            case 0:
                return False
            case 500:
                raise RuntimeError("connect trouble")
        sock.state["room"] = room
        sock.join(f"room/{room}")
        sock.send("welcome")
        if "v2" in sock.subprotocols:
            sock.subprotocol = "v2"
        return None

    @live.on_disconnect
    def disconnect(sock: Any, code: int, reason: str, room: int) -> None:
        sock.state["never kept"] = True
        gone.append((code, reason, room, flask.request.path))

    gone: list[Any] = app.extensions.setdefault("gone", [])

    @gate.socket("/order")
    def order(sock: Any, message: Order) -> Any:
        return {"total": message.count * 2}

    @gate.socket("/raw", format="raw", concurrent=True)
    def raw(sock: Any, message: str | bytes) -> Any:
        return f"{type(message).__name__} {len(message)}"

    return app


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Hosted]:
    with hosted(flask_app(), tmp_path) as host:
        yield host


def ask(host: Hosted, data: Any, state: dict[str, Any] | None = None, on: Any = SCOPE) -> Answer:
    host.gateway.message(on, data if isinstance(data, str | bytes) else json.dumps(data), state)
    return host.gateway.next(Answer)


def test_the_hello_names_rules_and_handlers(host: Hosted) -> None:
    hello = host.gateway.hello
    assert ("ws /live/<int:room>", "/live/<int:room>") in hello.rules
    assert (hello.app, hello.slots, hello.lane) == ("wsgi", 4, "slow")
    assert hello.pinned == {}


def test_a_handshake_is_accepted_with_its_effects_and_state(host: Hosted) -> None:
    stream = host.gateway.open(msgspec.structs.replace(SCOPE, subprotocols=["v1", "v2"]))
    accept = host.gateway.expect(Accept)
    assert (accept.stream, accept.native, accept.handler) == (stream, True, "ws /live/<int:room>")
    assert accept.subprotocol == "v2"
    assert accept.state == {"room": 7}
    assert accept.options == {"concurrent": False, "disconnect": True, "event_field": ["do"]}
    assert accept.effects == [Effect("join", "room/7"), Effect("send", "welcome")]


@pytest.mark.parametrize(("room", "status", "part"), [(403, 403, b"Forbidden"), (401, 401, b"log in"), (0, 403, b"")])
def test_a_handshake_is_refused_as_the_handler_says(host: Hosted, room: int, status: int, part: bytes) -> None:
    host.gateway.open(scope(path=f"/live/{room}"))
    reject = host.gateway.expect(Reject)
    assert reject.status == status
    assert part in reject.body
    assert (dict(reject.headers).get(b"x-why") == b"no") is (room == 401)


def test_a_handshake_handler_that_raises_fails_with_an_id(host: Hosted, caplog: pytest.LogCaptureFixture) -> None:
    host.gateway.open(scope(path="/live/500"))
    assert host.gateway.expect(Fail).error_id in caplog.text
    assert "connect trouble" in caplog.text


def test_before_request_guards_sockets_too(tmp_path: Path) -> None:
    app = flask_app()
    app.before_request(lambda: ("log in first", 401))
    with hosted(app, tmp_path) as host:
        host.gateway.open(SCOPE)
        reject = host.gateway.expect(Reject)
        assert (reject.status, reject.body) == (401, b"log in first")


def test_a_message_sees_the_request_of_the_handshake(host: Hosted) -> None:
    answer = ask(host, {"do": "tell", "id": 5}, {"kept": 1})
    assert json.loads(answer.data) == {
        "id": 5,
        "room": 7,
        "who": "ann",
        "cookie": "yes",
        "team": "blue",
        "session": None,
        "state": {"kept": 1},
    }
    assert answer.state is None
    assert answer.error_id is None
    assert answer.run > 0


def test_the_session_of_the_handshake_can_be_read(tmp_path: Path) -> None:
    app = flask_app()

    @app.get("/login")
    def login() -> str:
        flask.session["user"] = "ann"
        return "in"

    cookie = app.test_client().get("/login").headers["Set-Cookie"].partition(";")[0]
    with hosted(app, tmp_path) as host:
        headers = [(b"cookie", b"seen=yes; " + cookie.encode()), (b"x-team", b"red")]
        on = scope(path="/live/1", query=b"who=x", headers=headers)
        assert json.loads(ask(host, {"do": "tell"}, on=on).data)["session"] == "ann"


def test_effects_go_out_at_once_and_in_order(host: Hosted) -> None:
    host.gateway.message(SCOPE, json.dumps({"do": "effects"}), connection="c9")
    got = []
    while not isinstance(message := host.gateway.receive(), Answer):
        assert isinstance(message, Effects)
        assert message.connection == "c9"
        got += message.effects
    assert got == [
        Effect("send", "text"),
        Effect("send", b"bytes"),
        Effect("send", '{"a":1}'),
        Effect("join", "desk"),
        Effect("join", ["prices", "latest"]),
        Effect("leave", "desk"),
        Effect("follow", ["jobs/1", 4]),
        Effect("unfollow", "jobs/1"),
        Effect("close", [4001, "enough"]),
    ]
    assert message.data is None


def test_state_travels_only_when_it_has_changed(host: Hosted) -> None:
    assert ask(host, {"do": "remember", "what": "x"}).state == {"seen": "x"}
    assert ask(host, {"do": "remember", "what": "x"}, {"seen": "x"}).state is None
    assert ask(host, {"do": "mutate"}, {"list": []}).state == {"list": [1]}


@pytest.mark.parametrize("what", ["raise", "exit", "unsendable"])
def test_a_handler_that_raises_gives_an_error_answer_with_an_id(
    host: Hosted, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    answer = ask(host, {"do": what, "id": "m1"})
    body = json.loads(answer.data)
    assert body == {"headgate": "error", "id": "m1", "error": "internal", "error_id": answer.error_id}
    assert answer.error_id
    assert answer.error_id in caplog.text


def test_a_full_queue_is_told_as_busy(host: Hosted, caplog: pytest.LogCaptureFixture) -> None:
    answer = ask(host, {"do": "full", "id": 1})
    assert json.loads(answer.data) == {"headgate": "error", "id": 1, "error": "busy", "retry_after": 3.0}
    assert answer.error_id is None
    assert not caplog.records


@pytest.mark.parametrize(
    ("data", "part"),
    [("{not json", "takes JSON"), (b"\x00", "send text"), ("", "takes JSON"), ('{"item": 1}', "shape")],
)
def test_a_bad_message_is_answered_with_what_to_send(host: Hosted, data: Any, part: str) -> None:
    answer = ask(host, data, on=scope(path="/order"))
    body = json.loads(answer.data)
    assert body["error"] == "bad_message"
    assert part in body["message"]
    assert answer.error_id is None


def test_answers_are_json_or_binary(host: Hosted) -> None:
    assert ask(host, {"do": "binary"}).data == b"\x00\x01"
    assert ask(host, {"do": "text"}).data == '"plain"'
    assert ask(host, {"do": "other"}).data == '["list"]'
    assert ask(host, {"item": "x", "count": 4, "id": 2}, on=scope(path="/order")).data == '{"id":2,"total":8}'


def test_raw_messages_come_as_they_are(host: Hosted) -> None:
    assert ask(host, "{not json", on=scope(path="/raw")).data == '"str 9"'
    assert ask(host, b"\x00\x01", on=scope(path="/raw")).data == '"bytes 2"'


def test_the_end_of_a_connection_is_heard(host: Hosted) -> None:
    host.gateway.message(SCOPE, None, kind="disconnect", code=1001, reason="gone")
    answer = host.gateway.expect(Answer)
    assert (answer.data, answer.state, answer.error_id) == (None, None, None)
    assert flask_gone(host) == [(1001, "gone", 7, "/live/7")]


def flask_gone(host: Hosted) -> Any:
    return host.host.app.extensions["gone"]


def test_without_flask_a_handler_gets_the_handshake(tmp_path: Path) -> None:
    gate = Headgate()

    @gate.socket("/live")
    def live(sock: Any, message: Any) -> Any:
        return [sock.request.headers["x-team"], sock.request.query, sock.request.cookies, message]

    @live.on_connect
    def connect(sock: Any) -> Any:
        return None if sock.request.query else ("who are you?", 401, {"X-Why": "no"})

    def app(environ: Any, start: Any) -> list[bytes]:
        start("404 Not Found", [])
        return [b"nothing here"]

    with hosted(app, tmp_path) as host:
        on = msgspec.structs.replace(SCOPE, path="/live")
        host.gateway.open(on)
        assert host.gateway.expect(Accept).handler == "ws /live"
        assert json.loads(ask(host, "1", on=on).data) == ["blue", {"who": "ann"}, {"seen": "yes"}, 1]
        host.gateway.open(scope(path="/live"))
        reject = host.gateway.expect(Reject)
        assert (reject.status, reject.body) == (401, b"who are you?")


def test_a_channel_joined_with_an_unknown_policy_is_told() -> None:
    sock = Socket("c", None, {}, None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'drop', 'latest', 'close'"):
        sock.join("news", slow="newest")  # type: ignore[arg-type]
