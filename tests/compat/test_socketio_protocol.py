"""The protocols by the byte: Engine.IO v4 and Socket.IO v5 as their documents have them, without a client library."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.support.folders import short_folder
from tests.support.headgate import Headgate

APPS = Path(__file__).parent / "socketio_apps"
POLLING, WEBSOCKET = "/socket.io/?EIO=4&transport=polling", "/socket.io/?EIO=4&transport=websocket"


@pytest.fixture(scope="module")
def server() -> Iterator[Headgate]:
    """Pings every 0.3 s, to be answered within 4 s; its `async_mode` asks for gevent."""
    folder = short_folder("sio")
    options = ("--gateways", "2", "--jobs", "1", "--stop-timeout", "3")
    with Headgate("wide:app", folder, *options, app_folder=APPS, env={"PING_TIMEOUT": "4"}) as started:
        yield started


@pytest.fixture
def http(server: Headgate) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers={"Connection": "close"}, timeout=20) as client:
        yield client


def opened(http: httpx.Client) -> str:
    """The sid of a new polling session."""
    answer = http.get(POLLING)
    told = json.loads(answer.text[1:])
    assert answer.text[0] == "0"
    assert told == {
        "sid": told["sid"],
        "upgrades": ["websocket"],
        "pingTimeout": 4000,
        "pingInterval": 300,
        "maxPayload": 1_000_000,
    }
    return str(told["sid"])


def socket(server: Headgate, query: str = "") -> ClientConnection:
    return connect(f"{server.ws_url}{WEBSOCKET}{query}", compression=None, ping_interval=None, close_timeout=2)


@contextmanager
def joined(server: Headgate, namespace: str = "") -> Iterator[ClientConnection]:
    """A client of a namespace that has seen its first event."""
    with socket(server) as client:
        assert json.loads(str(client.recv(10))[1:])["upgrades"] == []
        client.send(f"40{namespace}")
        assert str(received(client)).startswith(f"40{namespace}")
        assert received(client) == f'42{namespace}["auth",{{}}]'
        yield client


def received(client: ClientConnection) -> str | bytes:
    """The next message that is no ping; pings are answered."""
    while (message := client.recv(10)) == "2":
        client.send("3")
    return message


def drain(client: ClientConnection) -> None:
    """Read, and answer nothing, until the connection ends."""
    while True:
        client.recv(10)


def test_polling_pings_and_payloads(http: httpx.Client) -> None:
    sid = opened(http)
    for _ in range(2):
        assert http.get(f"{POLLING}&sid={sid}").text == "2"
        assert http.post(f"{POLLING}&sid={sid}", content="3").text == "ok"
    packets = ["40", '42["message","a"]', '451-["message",{"_placeholder":true,"num":0}]']
    assert http.post(f"{POLLING}&sid={sid}", content="\x1e".join(packets)).status_code == 200
    assert http.post(f"{POLLING}&sid={sid}", content="bAQI=").text == "ok"
    got = ""
    while got.count("message-back") < 2:
        text = http.get(f"{POLLING}&sid={sid}").text
        if text == "2":
            http.post(f"{POLLING}&sid={sid}", content="3")
        got += text + "\x1e"
    packets = [one for one in got.split("\x1e") if one not in ("", "2")]
    assert packets[0].startswith('40{"sid":')
    assert packets[1:] == [
        '42["auth",{}]',
        '42["message-back","a"]',
        '451-["message-back",{"_placeholder":true,"num":0}]',
        "bAQI=",
    ]


def test_silence_ends_a_session(http: httpx.Client, server: Headgate) -> None:
    sid = opened(http)
    assert http.get(f"{POLLING}&sid={sid}").text == "2"
    assert http.get(f"{POLLING}&sid={sid}").text == "1"
    assert http.get(f"{POLLING}&sid={sid}").status_code == 400
    with socket(server) as client, pytest.raises(ConnectionClosed):
        drain(client)


def test_one_poll_at_a_time(server: Headgate) -> None:
    with httpx.Client(base_url=server.url, timeout=20) as one, httpx.Client(base_url=server.url, timeout=20) as other:
        sid = opened(one)
        first: list[httpx.Response] = []
        thread = threading.Thread(target=lambda: first.append(one.get(f"{POLLING}&sid={sid}")))
        thread.start()
        second = other.get(f"{POLLING}&sid={sid}")
        thread.join(20)
        assert sorted([first[0].text == "1", second.text == "1"]) == [False, True]
        assert sorted([first[0].status_code, second.status_code]) == [200, 400]


def test_the_client_closes(http: httpx.Client, server: Headgate) -> None:
    sid = opened(http)
    assert http.post(f"{POLLING}&sid={sid}", content="1").status_code == 200
    assert http.get(f"{POLLING}&sid={sid}").status_code == 400
    with socket(server) as client:
        client.recv(10)
        client.send("1")
        with pytest.raises(ConnectionClosed):
            client.recv(10)


def test_upgrade(http: httpx.Client, server: Headgate) -> None:
    sid = opened(http)
    http.post(f"{POLLING}&sid={sid}", content="40")
    with socket(server, f"&sid={sid}") as client:
        client.send("2probe")
        assert client.recv(10) == "3probe"
        client.send("5")
        seen = [received(client)]
        while not str(seen[-1]).startswith("42"):
            seen.append(received(client))
        client.send('42["message","over the socket"]')
        assert received(client) == '42["message-back","over the socket"]'
        assert http.get(f"{POLLING}&sid={sid}").status_code == 400
        with socket(server, f"&sid={sid}") as another, pytest.raises(ConnectionClosed):
            another.recv(10)
        client.send('42["message","still here"]')
        assert received(client) == '42["message-back","still here"]'
    with pytest.raises(InvalidStatus):
        socket(server, "&sid=00~nobodyhasthissidatall")


def test_namespaces_come_and_go(server: Headgate) -> None:
    with joined(server) as client:
        client.send("40/custom,")
        assert str(received(client)).startswith('40/custom,{"sid":')
        assert received(client) == '42/custom,["auth",{}]'
        client.send("40/random")
        assert received(client) == '44/random,{"message":"Invalid namespace"}'
        client.send("41/custom")
        client.send('42/custom,["message","nobody is there"]')
        client.send('42["message","main"]')
        assert received(client) == '42["message-back","main"]'
    with joined(server, "/custom,") as client:
        client.send('42/custom,["message",1]')
        assert received(client) == '42/custom,["message-back",1]'


def test_acknowledgements_and_attachments(server: Headgate) -> None:
    with joined(server) as client:
        client.send('42456["message-with-ack",1,"2",{"3":[false]}]')
        assert received(client) == '43456[1,"2",{"3":[false]}]'
        client.send('452-789["message-with-ack",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
        client.send(b"\x01\x02")
        client.send(b"")
        assert received(client) == '462-789[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'
        assert [received(client), received(client)] == [b"\x01\x02", b""]


@pytest.mark.parametrize(
    "packet", ["4abc", "42{}", '42abc["x"]', '42["connect"]', "abc", '451-["x",{"_placeholder":true}]']
)
def test_what_is_malformed_ends_the_session(server: Headgate, packet: str) -> None:
    with joined(server) as client:
        client.send(packet)
        with suppress(ConnectionClosed):  # it may have been ended already
            client.send("4not an attachment")
        with pytest.raises(ConnectionClosed):
            drain(client)
