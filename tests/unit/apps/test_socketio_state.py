"""What a client's events leave for later ones, and what the gateways are told of an app's server."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import socketio
from socketio.msgpack_packet import MsgPackPacket

from headgate.apps.socketio.describe import describe
from headgate.apps.socketio.state import SAVED, changes, restore
from headgate.base.errors import ConfigError

HANDSHAKE = frozenset({"PATH_INFO", "wsgi.input"})


def after(environ: dict[str, Any], state: dict[str, bytes], sessions: Any = None) -> dict[str, bytes]:
    """The state after an event that left this environ."""
    changed = changes(environ, HANDSHAKE, state, sessions or {})
    return {key: raw for key, raw in {**state, **changed}.items() if raw}


def test_a_session_comes_back_and_only_what_changed_travels() -> None:
    environ: dict[str, Any] = {"PATH_INFO": "/", SAVED: {"name": "ada", "seen": [1]}}
    state = after(environ, {})
    restored: dict[str, Any] = {"PATH_INFO": "/"}
    restore(restored, state)
    assert restored[SAVED] == {"name": "ada", "seen": [1]}
    restored[SAVED]["seen"].append(2)
    changed = changes(restored, HANDSHAKE, state, {})
    assert {key: pickle.loads(raw) for key, raw in changed.items()} == {"fseen": [1, 2]}
    del restored[SAVED]["name"]
    assert changes(restored, HANDSHAKE, state, {})["fname"] == b""


def test_two_events_at_once_do_not_undo_each_other() -> None:
    state = after({SAVED: {"a": 1, "b": 1}}, {})
    one: dict[str, Any] = {}
    other: dict[str, Any] = {}
    restore(one, state)
    restore(other, state)
    one[SAVED]["a"], other[SAVED]["b"] = 2, 3
    merged = {**state, **changes(one, HANDSHAKE, state, {}), **changes(other, HANDSHAKE, state, {})}
    end: dict[str, Any] = {}
    restore(end, merged)
    assert end[SAVED] == {"a": 2, "b": 3}


def test_an_empty_session_is_a_session() -> None:
    end: dict[str, Any] = {}
    restore(end, after({SAVED: {}}, {}))
    assert end[SAVED] == {}


def test_additions_to_the_environ(caplog: pytest.LogCaptureFixture) -> None:
    state = after({"PATH_INFO": "/", "app.user": 7, "wsgi.thing": 1, "unfit": lambda: None}, {})
    restored: dict[str, Any] = {}
    restore(restored, state)
    assert restored == {"app.user": 7}
    assert "'unfit' of a client cannot be kept" in caplog.text


def test_sessions_of_python_socketio() -> None:
    state = after({}, {}, {"/": {"x": 1}})
    assert pickle.loads(state["s/"]) == {"x": 1}
    assert changes({}, HANDSHAKE, state, {"/": {"x": 1}}) == {}
    assert after({}, state, {"/": {}}) == {}


def server(**options: Any) -> Any:
    return socketio.Server(async_mode="threading", **options)


def test_defaults_are_described() -> None:
    told = describe(server(), "/socket.io/")
    assert (told.ping_interval, told.ping_timeout, told.max_payload) == (25.0, 20.0, 1_000_000)
    assert (told.transports, told.allow_upgrades, told.cookie) == (["polling", "websocket"], True, "")
    assert (told.origins, told.same_origin, told.cors, told.compress) == ([], True, True, 1024)
    assert (told.serializer, told.accepted, told.ordered, told.always_connect) == ("default", ["/"], False, False)


@pytest.mark.parametrize(
    ("given", "origins", "same", "cors"),
    [
        ("*", None, False, True),
        (["*"], None, False, True),
        ("http://a", ["http://a"], False, True),
        (["http://a", "http://b"], ["http://a", "http://b"], False, True),
        ([], [], False, False),
        (lambda origin: True, None, False, True),
    ],
)
def test_origins(given: Any, origins: Any, same: bool, cors: bool) -> None:
    told = describe(server(cors_allowed_origins=given), "/s/")
    assert (told.origins, told.same_origin, told.cors) == (origins, same, cors)


def test_the_rest_is_described() -> None:
    made = server(
        ping_interval=(5, 2),
        ping_timeout=3,
        cookie={"name": "s", "path": "/x", "HttpOnly": True, "Domain": lambda: "d"},
        transports=["websocket"],
        http_compression=False,
        async_handlers=False,
        serializer="msgpack",
        namespaces="*",
    )
    made.on("a", lambda *_: None)
    made.on("*", lambda *_: None, namespace="/n")
    made.on("b", lambda *_: None, namespace="*")

    class Methods(socketio.Namespace):  # type: ignore[misc]
        def on_c(self) -> None: ...

    class Own(socketio.Namespace):  # type: ignore[misc]
        def trigger_event(self, event: str, *args: Any) -> None: ...

    made.register_namespace(Methods("/m"))
    made.register_namespace(Own("/o"))
    told = describe(made, "/s/")
    assert (told.ping_interval, told.ping_timeout) == (7.0, 3.0)
    assert told.cookie == "s={sid}; path=/x; HttpOnly; Domain=d"
    assert (told.transports, told.compress, told.ordered, told.serializer) == (["websocket"], 0, True, "msgpack")
    assert told.accepted is None
    assert told.namespaces == {
        "/": ["a"],
        "/n": ["*"],
        "*": ["b"],
        "/m": ["c"],
        "/o": ["*", "connect", "disconnect"],
    }


def test_a_handler_for_every_namespace_lets_nobody_in() -> None:
    """As python-socketio has it."""
    made = server()
    made.on("a", lambda *_: None, namespace="*")
    made.on("a", lambda *_: None, namespace="/n")
    assert describe(made, "/s/").accepted == ["/", "/n"]


def test_a_packet_class_that_gateways_cannot_read() -> None:
    class Own(socketio.packet.Packet):  # type: ignore[misc]
        def encode(self) -> str:
            return "secret"

    with pytest.raises(ConfigError, match="heads"):
        describe(server(serializer=Own), "/s/")
    assert describe(server(serializer=MsgPackPacket.configure()), "/s/").serializer == "msgpack"
