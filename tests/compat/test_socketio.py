"""A Flask-SocketIO app, unchanged, with the Python client: every transport, one gateway and several."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import socketio

from tests.support.folders import short_folder
from tests.support.headgate import Headgate
from tests.support.socketio import TRANSPORTS, Player, new_client
from tests.support.wait import until

APPS = Path(__file__).parent / "socketio_apps"


@pytest.fixture(scope="module", params=[1, 4], ids=["1 gateway", "4 gateways"])
def chat(request: pytest.FixtureRequest) -> Iterator[Headgate]:
    """A chat, on so many gateways, with nothing that keeps a client at one of them."""
    folder = short_folder("sio")
    options = ("--gateways", str(request.param), "--workers", "2", "--jobs", "1", "--stop-timeout", "5")
    with Headgate("chat:app", folder, *options, app_folder=APPS) as server:
        yield server


@pytest.fixture(params=sorted(TRANSPORTS))
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_events_and_acknowledgements(chat: Headgate, transport: str) -> None:
    with Player(chat.url, transport, auth={"name": "ada"}) as ada:
        welcome = ada.expect("welcome")[0]
        assert welcome == {"sid": ada.sid, "name": "ada", "auth": {"name": "ada"}, "from": None}
        assert ada.call("echo", 1, "two", {"three": [None, True]}) == (1, "two", {"three": [None, True]})
        assert ada.call("echo", b"\x00\xff", {"deep": [b"", b"x" * 70_000]}) == (
            b"\x00\xff",
            {"deep": [b"", b"x" * 70_000]},
        )
        assert ada.call("echo", "ä€𝄞\x1e") == "ä€𝄞\x1e"
        assert [ada.call("count") for _ in range(5)] == [1, 2, 3, 4, 5]
        ada.emit("message", "shouting")
        assert ada.expect("message") == ["SHOUTING"]
        ada.emit("json", {"a": 1})
        assert ada.expect("json") == [{"got": {"a": 1}}]


def test_rooms_reach_across_gateways(chat: Headgate, transport: str) -> None:
    players = [Player(chat.url, transport, auth={"name": f"p{number}"}) for number in range(6)]
    try:
        for player in players[:4]:
            assert player.call("enter", f"room {transport}") == sorted([player.sid, f"room {transport}"])
        players[5].call("enter", 7)
        players[5].emit("say", f"room {transport}", "hello")
        for player in players[:4]:
            assert player.expect("said") == [{"name": "p5", "text": "hello"}]
        players[5].emit("whisper", f"room {transport}", "psst", [players[0].sid, players[1].sid])
        for player in players[2:4]:
            assert player.expect("said", 2)[1]["text"] == "psst"
        players[0].emit("say", 7, "numbers are rooms too")
        assert players[5].expect("said") == [{"name": "p0", "text": "numbers are rooms too"}]
        assert len(players[0].got("said")) == len(players[1].got("said")) == 1
        assert players[4].got("said") == []
        assert players[0].got("entered") == ["p1", "p2", "p3"]
        assert players[3].call("exit", f"room {transport}") == [players[3].sid]
        httpx.post(f"{chat.url}/announce/room {transport}", json={"from": "a view"}).raise_for_status()
        for player in players[:3]:
            assert player.expect("announced") == [{"from": "a view"}]
        there = httpx.get(f"{chat.url}/who/room {transport}").json()
        assert there == sorted(player.sid for player in players[:3])
        players[5].emit("shut", f"room {transport}")
        players[0].expect("shut")
        until(lambda: httpx.get(f"{chat.url}/who/room {transport}").json() == [], "an empty room")
        assert players[3].got("announced") == players[3].got("shut") == []
    finally:
        for player in players:
            player.close()


def test_the_server_asks_and_hears(chat: Headgate, transport: str) -> None:
    with Player(chat.url, transport, answers={"question": lambda text: (text, "answered")}) as player:
        assert player.call("ask", "how?") == {"answer": ["how?", "answered"], "sid": player.sid}
        player.emit("tell", "listen")
        assert player.expect("heard") == [{"answer": ["listen", "answered"], "sid": player.sid}]
        assert until(lambda: player.call("recall"), "the callback's session") == ["listen", "answered"]


def test_refused_with_data(chat: Headgate, transport: str) -> None:
    client = new_client()
    told: list[object] = []
    client.on("connect_error", told.append)
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(chat.url, transports=TRANSPORTS[transport], auth={"banned": True})
    assert told == [{"message": "banned", "data": {"until": "tomorrow"}}]
    client.disconnect()
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(chat.url, transports=TRANSPORTS[transport], auth={"shut": True})
    assert told[1:] == [{"message": "Connection rejected by server"}]
    client.disconnect()


def test_namespaces(chat: Headgate, transport: str) -> None:
    names = ["/", "/rooms", "/any"]
    with Player(chat.url, transport, namespaces=names) as player:
        assert player.expect("hello") == ["/rooms"]
        assert player.call("shout", "loud", namespace="/rooms") == "shouted"
        assert player.expect("shouted") == ["LOUD"]
        assert player.call("whatever", 1, namespace="/any") == ["whatever", "/any", 1]
        assert len({player.client.get_sid(name) for name in names}) == 3
    client = new_client()
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(chat.url, namespaces=["/nowhere"], transports=TRANSPORTS[transport])
    client.disconnect()


def test_login_and_session(chat: Headgate, transport: str) -> None:
    """The cookie of a login over HTTP makes the user known to every event; a session of events is not the cookie's."""
    with httpx.Client(base_url=chat.url) as http:
        http.post("/login/grace").raise_for_status()
        cookie = "; ".join(f"{name}={value}" for name, value in http.cookies.items())
    with Player(chat.url, transport, headers={"Cookie": cookie}) as player:
        welcome = player.expect("welcome")[0]
        assert (welcome["name"], welcome["from"]) == ("grace", "http")
        assert [player.call("count"), player.call("count")] == [1, 2]


def test_errors_go_to_on_error(chat: Headgate) -> None:
    with Player(chat.url) as player:
        assert player.call("fail", "broken") == "failed"
        assert player.expect("failed") == ["broken"]


def test_disconnects_have_reasons(chat: Headgate) -> None:
    with Player(chat.url, auth={"name": "watcher"}) as watcher:
        leaver = Player(chat.url, auth={"name": "leaver"})
        assert [leaver.call("count") for _ in range(3)] == [1, 2, 3]
        kicked, cut = Player(chat.url, auth={"name": "kicked"}), Player(chat.url, auth={"name": "cut"})
        assert watcher.call("kick", kicked.sid) == "kicked"
        assert kicked.gone.wait(10)
        kicked.close()
        cut.client.eio.ws.sock.close()
        leaver.emit("nothing listens to this")
        leaver.client.disconnect()
        seen = {one["name"]: one for one in watcher.expect("left", 3)}
        assert seen["kicked"]["reason"] == "server disconnect"
        assert seen["leaver"]["reason"] in ("client disconnect", "transport close")
        assert seen["leaver"]["count"] == 3
        assert seen["cut"]["reason"] == "transport close"
        cut.close()


def test_pages_of_other_origins(chat: Headgate) -> None:
    """As the app configured it: CORS headers for the page that is named, refusal of any other, and its cookie."""
    address = f"{chat.url}/socket.io/?EIO=4&transport=polling"
    answer = httpx.get(address, headers={"Origin": "http://pages.example"})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "http://pages.example"
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["set-cookie"].startswith("io=")
    assert "SameSite=Lax" in answer.headers["set-cookie"]
    assert httpx.get(address, headers={"Origin": "http://other.example"}).status_code == 400
    preflight = httpx.options(
        address, headers={"Origin": "http://pages.example", "Access-Control-Request-Headers": "x-thing"}
    )
    assert preflight.headers["access-control-allow-headers"] == "x-thing"
    with pytest.raises(socketio.exceptions.ConnectionError):
        Player(chat.url, headers={"Origin": "http://other.example"})


def test_nothing_breaks_by_nonsense(chat: Headgate) -> None:
    base = f"{chat.url}/socket.io/"
    with httpx.Client() as http:
        for query in ("EIO=3&transport=polling", "EIO=4&transport=smoke", "EIO=4", "transport=polling"):
            assert http.get(f"{base}?{query}").status_code == 400, query
        assert http.get(f"{base}?EIO=4&transport=polling&sid=unknown").status_code == 400
        for packet in ("4", "49", "42", "42{}", '42["disconnect"]', "4299999[]", "9", "42[1", "b!", "43[1]", "44"):
            sid = _open(http, base)
            http.post(f"{base}?EIO=4&transport=polling&sid={sid}", content="40")
            answer = http.post(f"{base}?EIO=4&transport=polling&sid={sid}", content=packet)
            assert answer.status_code == 400, packet
            assert http.get(f"{base}?EIO=4&transport=polling&sid={sid}").status_code == 400, packet
        sid = _open(http, base)
        large = http.post(f"{base}?EIO=4&transport=polling&sid={sid}", content="4" + "x" * 1_000_001)
        assert large.status_code == 413
    with Player(chat.url) as player:
        assert player.call("echo", "still here") == "still here"


def _open(http: httpx.Client, base: str) -> str:
    answer = http.get(f"{base}?EIO=4&transport=polling")
    return str(httpx.Response(200, text=answer.text[1:]).json()["sid"])
