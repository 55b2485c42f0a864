"""App workers in their own processes, behind a gateway: what a client sees."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from headgate.base.errors import HeadgateError
from tests.support.folders import short_folder
from tests.support.headgate import Headgate
from tests.support.sockets import Socket, open_socket
from tests.support.wait import until

HERE = Path(__file__).parent


class Desk:
    """The server, an HTTP client for it, and what the app has noted."""

    def __init__(self, server: Headgate, client: httpx.Client, notes: Path) -> None:
        self.server = server
        self.client = client
        self._notes = notes

    def noted(self, line: str) -> None:
        """Wait until the app has noted the line."""
        until(lambda: line in self._notes.read_text().splitlines(), f"the note {line!r}")

    def socket(self, path: str, **options: object) -> contextlib.AbstractContextManager[Socket]:
        return open_socket(f"{self.server.ws_url}{path}", **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    folder = short_folder("apps")
    notes = folder / "notes"
    notes.touch()
    Path(f"{notes}.big").write_bytes(b"0123456789" * 100_000)
    shutil.copy(HERE / "apps_desk.py", folder / "apps_desk.py")
    with (
        Headgate("apps_desk:app", folder, "--jobs", "1", "--stop-timeout", "5", env={"NOTES": str(notes)}) as server,
        httpx.Client(base_url=server.url, timeout=20) as client,
    ):
        yield Desk(server, client, notes)
    shutil.rmtree(folder)


def test_a_route_is_answered_and_moves_into_the_fast_lane(desk: Desk) -> None:
    first = desk.client.get("/who").json()["pid"]
    fast = until(
        lambda: (pid := desk.client.get("/who").json()["pid"]) != first and pid, "another process to answer", 20
    )
    assert desk.client.get("/who").json()["pid"] == fast


def test_a_slow_handler_never_runs_in_the_fast_process(desk: Desk) -> None:
    fast = [desk.client.get("/who").json()["pid"] for _ in range(20)][-1]
    assert fast not in {desk.client.get("/wait/0.1").json()["pid"] for _ in range(10)}


@pytest.mark.parametrize("size", [0, 10, 70_000, 3_000_000])
def test_bodies_of_any_size_arrive_whole(desk: Desk, size: int) -> None:
    assert desk.client.post("/length", content=b"x" * size).json() == {"length": size}
    chunks = (b"x" * 1000 for _ in range(size // 1000))
    assert desk.client.post("/length", content=chunks).json() == {"length": size // 1000 * 1000}
    assert desk.client.post("/lines", content=b"line\n" * (size // 5)).json() == {"lines": size // 5}


def test_an_upload_by_form(desk: Desk) -> None:
    answer = desk.client.post("/form", files={"file": ("a.csv", b"x" * 500_000)}, data={"field": "Zoë"})
    assert answer.json() == {"name": "a.csv", "size": 500_000, "field": "Zoë"}


def test_large_responses_and_files_arrive_whole(desk: Desk) -> None:
    assert desk.client.get("/big/100").content == b"x" * 65536 * 100
    whole = desk.client.get("/file")
    assert whole.content == b"0123456789" * 100_000
    assert desk.client.head("/file").headers["content-length"] == "1000000"
    part = desk.client.get("/file", headers={"Range": "bytes=5-14"})
    assert (part.status_code, part.content) == (206, b"5678901234")


def test_a_client_that_goes_away_ends_its_response(desk: Desk) -> None:
    with desk.client.stream("GET", "/endless") as answer:
        assert next(answer.iter_bytes())
    desk.noted("endless closed")


def test_a_view_that_raises_is_500_with_its_traceback_in_the_log(desk: Desk) -> None:
    assert desk.client.get("/breaks").status_code == 500
    until(lambda: "the view's own trouble" in desk.server.log(), "the traceback in the log")


def test_a_response_that_breaks_off_is_seen_to_be_cut(desk: Desk) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        desk.client.get("/breaks-late")
    until(lambda: "trouble after the head" in desk.server.log(), "the traceback in the log")


def test_a_worker_that_dies_fails_its_own_request_only(desk: Desk) -> None:
    with desk.socket("/live/dying") as sock:
        until(lambda: desk.client.get("/die").status_code == 502, "the death of an app worker", 20)
        assert sock.ask({"type": "who"}, 20)["room"] == "dying"
    until(desk.server.ready, "a new app worker", 20)
    assert desk.client.get("/who").status_code == 200


def test_a_socket_keeps_its_state_session_and_rooms_between_processes(desk: Desk) -> None:
    cookie = desk.client.get("/login/ann").headers["set-cookie"].partition(";")[0]
    desk.client.cookies.clear()
    headers = {"Cookie": cookie}
    with desk.socket("/live/desk", additional_headers=headers) as ann, desk.socket("/live/desk") as bob:
        assert ann.ask({"type": "remember", "what": [1, {"a": 2}]}) == {"ok": True}
        told = ann.ask({"type": "who", "id": 7})
        assert (told["id"], told["name"], told["seen"]) == (7, "ann", [1, {"a": 2}])
        assert bob.ask({"type": "who"})["name"] is None
        ann.send({"type": "publish", "text": "hi"})
        assert bob.receive() == {"said": "hi"}
        assert ann.receive() == {"said": "hi"}
    desk.noted("live desk ended 1000")


def test_a_handshake_is_refused_with_the_views_own_answer(desk: Desk) -> None:
    with pytest.raises(InvalidStatus) as caught, desk.socket("/live/closed"):
        pass
    assert caught.value.response.status_code == 403
    with pytest.raises(InvalidStatus) as caught, desk.socket("/nothing"):
        pass
    assert caught.value.response.status_code == 404


def test_a_handler_that_raises_or_dies_leaves_the_socket_open(desk: Desk) -> None:
    with desk.socket("/live/x") as sock:
        failed = sock.ask({"type": "raise", "id": 1})
        assert (failed["headgate"], failed["error"], failed["id"]) == ("error", "internal", 1)
        until(lambda: failed["error_id"] in desk.server.log(), "the error id in the log")
        assert sock.ask("{no json")["error"] == "bad_message"
        assert sock.ask({"type": "die", "id": 2})["error"] == "worker_lost"
        assert sock.ask({"type": "who", "id": 3}, 20)["id"] == 3


def test_a_job_is_followed_to_its_end_on_the_socket(desk: Desk) -> None:
    with desk.socket("/live/x") as sock:
        job_id = sock.ask({"type": "count", "to": 5})["job_id"]
        events: list[Any] = []
        while not (events and events[-1].get("terminal")):
            events.append(sock.receive(20))
        assert {event["stream"] for event in events} == {f"jobs/{job_id}"}
        assert [event["event"] for event in events][:2] == ["queued", "started"]
        assert events[-1]["data"] == {"result": {"counted": 5, "app": "apps_desk"}}
        offsets = [int(event["offset"]) for event in events]
        assert offsets == sorted(set(offsets))


def test_a_job_is_accepted_and_looked_at_by_its_address(desk: Desk) -> None:
    accepted = desk.client.post("/count", json={"to": 2})
    assert accepted.status_code == 202
    address = accepted.headers["location"]
    state = until(lambda: (s := desk.client.get(address).json())["state"] == "succeeded" and s, "the job's end", 20)
    assert state["result"]["counted"] == 2
    assert desk.client.get(address.partition("?")[0]).status_code in (401, 403, 404)


def test_a_view_may_wait_for_its_job(desk: Desk) -> None:
    assert desk.client.post("/count-and-wait").json() == {"counted": 3, "app": "apps_desk"}


@pytest.mark.parametrize("size", [3, 500_000])
def test_a_slow_route_runs_as_a_job_for_who_prefers_it(desk: Desk, size: int) -> None:
    accepted = desk.client.post("/report/2026", content=b"x" * size, headers={"Prefer": "respond-async"})
    assert (accepted.status_code, accepted.headers["preference-applied"]) == (202, "respond-async")
    address = accepted.headers["location"]
    until(lambda: desk.client.get(address).status_code == 201, "the view's own response", 20)
    answer = desk.client.get(address)
    assert (answer.status_code, answer.headers["x-report"]) == (201, "yes")
    assert answer.json() == {"year": 2026, "size": size}


def test_arguments_that_do_not_fit_are_refused_before_the_job_is_there(desk: Desk) -> None:
    assert desk.client.post("/count", json={"to": "many"}).status_code == 500
    until(lambda: "argument 'to' of count" in desk.server.log(), "the argument's name in the log")


def test_many_loops_at_once_each_in_its_order(desk: Desk) -> None:
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(desk.socket(f"/loop/{number}")) for number in range(30)]
        assert [sock.receive() for sock in socks] == [f"hello {number}" for number in range(30)]
        for sock, letter in itertools.product(socks, "abc"):
            sock.send(letter)
        assert all([sock.receive() for _ in range(3)] == ["A", "B", "C"] for sock in socks)
    desk.noted("loop 29 ended 1000")


def test_a_reload_fails_no_request_and_closes_no_socket(desk: Desk) -> None:
    answers: list[int] = []
    enough = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=desk.server.url, timeout=20) as client:
            while not enough.is_set():
                answers.append(client.get("/who").status_code)

    source = desk.server.app_folder / "apps_desk.py"
    with desk.socket("/live/reload") as sock, desk.socket("/loop/reload") as loop:
        loop.receive()
        asking = threading.Thread(target=ask)
        asking.start()
        try:
            source.write_text(source.read_text().replace('PART = "1"', 'PART = "2"'))
            desk.server.reload()
            until(lambda: desk.client.get("/who").json()["part"] == "2", "the new code to answer", 40)
        finally:
            enough.set()
            asking.join()
        assert sock.ask({"type": "who"})["room"] == "reload"
        assert loop.ask("still here") == "STILL HERE"
    assert set(answers) == {200}


def test_a_stop_ends_loops_in_order_and_leaves_nothing(desk: Desk) -> None:
    """The last test of the module: it stops the server."""
    with desk.socket("/loop/last") as loop:
        loop.receive()
        stopped = threading.Thread(target=desk.server.stop)
        stopped.start()
        with pytest.raises((ConnectionClosed, HeadgateError)):
            loop.receive(20)
        stopped.join(30)
        assert not stopped.is_alive()
    desk.noted("loop last ended 1012")
