"""Flask-SocketIO's own examples and tests over the wire, from a checkout: FLASK_SOCKETIO_CHECKOUT names its folder.

Its tests run an app in their own process. Here the app is served by Headgate, and the test client is a real one; what
looks into the app's process, or at the headers that only that test client sends, is left out.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
import time
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import socketio

from tests.support.folders import short_folder
from tests.support.headgate import Headgate
from tests.support.socketio import Player

pytestmark = pytest.mark.filterwarnings("ignore")  # of the checkout's code, and of eventlet, which it tries first
INSIDE = {
    "test_disconnect": "reads a global of the app's process",
    "test_disconnect_namespace": "the same",
    "test_disconnect_class_based": "the same",
    "test_request_event_data": "the same",
    "test_request_event_data_class_based": "the same",
    "test_error_handling": "the same",
    "test_error_handling_namespace": "the same",
    "test_error_handling_default": "the same",
    "test_on_event": "the same",
    "test_managed_session": "reads the server's environ",
    "test_unmanaged_session": "sets an attribute of the app's object",
    "test_message_queue_options": "reads the options of an object of its own",
    "test_room": "emits from the app's process",
    "test_connect": "its client sends no headers",
    "test_connect_query_string_and_headers": "the same",
    "test_connect_namespace": "the same",
    "test_connect_namespace_query_string_and_headers": "the same",
    "test_connect_class_based": "the same",
    "test_connect_class_based_query_string_and_headers": "the same",
    "test_delayed_init": "makes an app of its own",
    "test_encode_decode": "the same",
    "test_encode_decode_2": "the same",
    "test_background_task": "waits for nothing, since its tasks run in its process",
}
QUIET = 0.3
"""Seconds without a new event after which all are taken to be there."""


@pytest.fixture(autouse=True)
def swept() -> Iterator[None]:
    """What the checkout's tests leave open is collected here, where its warnings are ignored."""
    yield
    gc.collect()


class WireClient:
    """What `socketio.test_client()` gives, over the wire."""

    url = ""

    def __init__(self, _app: Any, namespace: str | None = None, query_string: str | None = None, **more: Any) -> None:
        query = f"?{(query_string or '').lstrip('?')}"
        self._namespace = namespace or "/"
        try:
            self._player: Player | None = Player(
                WireClient.url + (query if len(query) > 1 else ""),
                namespaces=[self._namespace],
                auth=more.get("auth"),
                headers={"Origin": WireClient.url, **(more.get("headers") or {})},
            )
        except Exception:  # a refusal
            self._player = None
        self.eio_sid = self._player.sid if self._player is not None and self._namespace == "/" else object()
        self._taken = 0

    def is_connected(self, namespace: str | None = None) -> bool:
        player = self._player
        if player is None or (namespace or "/") != self._namespace:
            return False
        self._settle()
        return not player.gone.is_set() and self._namespace in player.client.namespaces

    def disconnect(self, namespace: str | None = None) -> None:
        self._checked(namespace).close()
        self._player = None

    def emit(self, event: str, *args: Any, namespace: str | None = None, callback: bool = False, **_: Any) -> Any:
        player = self._checked(namespace)
        try:
            answer = player.call(event, *args, namespace=namespace or "/")
        except socketio.exceptions.TimeoutError:
            if player.gone.is_set():  # the handler has disconnected the client, who hears of no answer any more
                return None
            raise
        if callback:
            return [] if answer is None or answer == () else answer
        return None

    def send(self, data: Any, json: bool = False, callback: bool = False, namespace: str | None = None) -> Any:
        return self.emit("json" if json else "message", data, callback=callback, namespace=namespace)

    def get_received(self, namespace: str | None = None) -> list[dict[str, Any]]:
        player = self._checked(namespace)
        self._settle()
        found, self._taken = player.events[self._taken :], len(player.events)
        return [{"name": name, "args": _listed(name, args)} for name, args in found]

    def _settle(self) -> None:
        count, since = -1, time.monotonic()
        while self._player is not None and time.monotonic() - since < QUIET:
            if len(self._player.events) != count:
                count, since = len(self._player.events), time.monotonic()
            time.sleep(0.02)

    def _checked(self, namespace: str | None) -> Player:
        if self._player is None or not self.is_connected(namespace):
            raise RuntimeError("not connected")
        return self._player


def _listed(name: str, args: Any) -> Any:
    if name in ("message", "json"):
        return args
    return [*args] if isinstance(args, tuple) else [args]


@pytest.fixture(scope="module")
def checkout() -> Path:
    folder = os.environ.get("FLASK_SOCKETIO_CHECKOUT", "")
    if not folder:
        pytest.skip("FLASK_SOCKETIO_CHECKOUT names no checkout")
    return Path(folder)


def served(target: str, folder: Path) -> Headgate:
    home = short_folder("sio")
    return Headgate(target, home, "--jobs", "1", "--stop-timeout", "3", app_folder=folder)


@pytest.fixture
def suite(checkout: Path) -> Iterator[Any]:
    """The checkout's test module, whose clients are real ones."""
    spec = importlib.util.spec_from_file_location("test_socketio", checkout / "test_socketio.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.socketio.test_client = WireClient
    with served("test_socketio:app", checkout) as server:
        WireClient.url = server.url
        yield module


def test_its_tests(suite: Any) -> None:
    names = [name for name in unittest.TestLoader().getTestCaseNames(suite.TestSocketIO) if name not in INSIDE]
    assert len(names) >= 15
    result = unittest.TestResult()
    unittest.TestSuite(map(suite.TestSocketIO, names)).run(result)
    assert [f"{case}: {trace}" for case, trace in [*result.failures, *result.errors]] == []
    sys.stderr.write(f"{result.testsRun} tests of Flask-SocketIO's passed over the wire\n")


@pytest.mark.parametrize("name", ["app", "app_namespace"])
def test_its_examples(checkout: Path, name: str) -> None:
    with served(f"{name}:app", checkout / "example") as server:
        origin = {"Origin": server.url}
        with Player(server.url, headers=origin) as one, Player(server.url, "upgrade", headers=origin) as other:
            one.emit("my_event", {"data": "a"})
            one.emit("my_event", {"data": "b"})
            assert one.expect("my_response", 3)[1:] == [{"data": "a", "count": 1}, {"data": "b", "count": 2}]
            other.emit("join", {"room": "r"})
            joined = other.expect("my_response", 2)[1]
            assert joined["data"] in (f"In rooms: r, {other.sid}", f"In rooms: {other.sid}, r")
            one.emit("my_room_event", {"room": "r", "data": "to the room"})
            assert other.expect("my_response", 3)[2] == {"data": "to the room", "count": 3}
            one.emit("my_broadcast_event", {"data": "to all"})
            assert other.expect("my_response", 4)[3]["data"] == "to all"
            one.emit("my_ping")
            one.expect("my_pong")
            other.emit("close_room", {"room": "r"})
            assert other.expect("my_response", 5)[4]["data"] == "Room r is closing."
            one.emit("disconnect_request")
            assert one.gone.wait(20)
