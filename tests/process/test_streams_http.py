"""Streams over HTTP beyond the protocol's own suite: who may, what is kept, what is told, what the app is asked."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.base.errors import JobFailed, Unavailable, UnknownStream
from headgate.client import afollow, aresult, follow, result
from tests.support.cuts import Cuts
from tests.support.headgate import Headgate
from tests.support.wait import free_port, until

ROOT = Path(__file__).resolve().parents[2]
ENV = {
    "HEADGATE_STREAM_POLL": "0.3",
    "HEADGATE_STREAM_SSE": "2",
    "HEADGATE_STREAM_HEARTBEAT": "0.2",
    "HEADGATE_STREAM_EVENTS": "100",
}


@pytest.fixture(scope="module")
def server() -> Iterator[Headgate]:
    with (
        tempfile.TemporaryDirectory(prefix="hg-", dir="/tmp") as folder,
        Headgate("tests.support.streams_app:app", Path(folder), app_folder=ROOT, env=ENV) as running,
    ):
        yield running


class Answer:
    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(server: Headgate, path: str, method: str = "GET", body: Any = None, **headers: str) -> Answer:
    data = None if body is None else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if data is not None:
        named.setdefault("content-type", "application/json")
    request = urllib.request.Request(server.url + path, data, named, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as refusal:
        return Answer(refusal.code, refusal.headers, refusal.read())


def appended(server: Headgate, name: str, *values: Any) -> Any:
    return ask(server, f"/append/{name}", "POST", list(values)).json


def test_a_signed_address_reads_its_stream_and_nothing_else(server: Headgate) -> None:
    told = appended(server, "secret/a", {"n": 1}, {"n": 2})
    appended(server, "secret/b", 1)
    answer = ask(server, told["url"])
    assert (answer.status, answer.json) == (200, [{"n": 1}, {"n": 2}])
    assert answer.headers["cache-control"].startswith("public, max-age=60")
    assert answer.headers["stream-next-offset"] == told["offset"] == "0000000000000002"
    token = told["url"].partition("token=")[2]
    assert ask(server, "/-/streams/secret/a", authorization=f"Bearer {token}").status == 200
    assert ask(server, f"/-/streams/secret/b?token={token}").status == 404
    assert ask(server, told["url"], "POST", {"n": 3}).status == 404, "it may read, not write"
    assert ask(server, told["write"], "POST", {"n": 3}).status == 204
    assert ask(server, told["write"]).json == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_what_a_shared_cache_and_a_browser_are_told(server: Headgate) -> None:
    token = appended(server, "secret/kept", 1)["url"].partition("token=")[2]
    bearer = ask(server, "/-/streams/secret/kept", authorization=f"Bearer {token}")
    assert bearer.headers["cache-control"].startswith("private"), "the address alone says nothing of the token"
    assert "sandbox" in bearer.headers["content-security-policy"]


def test_who_may_write_one_stream_cannot_copy_another_into_it(server: Headgate) -> None:
    appended(server, "secret/salaries", {"salary": 1})
    fork = {"stream-forked-from": "/-/streams/secret/salaries"}
    assert ask(server, "/-/streams/open/mine", "PUT", **fork).status == 404
    assert ask(server, "/-/streams/open/mine").status == 404
    token = ask(server, "/append/secret/salaries", "POST", [2]).json["url"].partition("token=")[2]
    assert ask(server, f"/-/streams/open/mine?token={token}", "PUT", **fork).status == 201


def test_a_guess_is_answered_alike_whether_there_is_a_stream_or_not(server: Headgate) -> None:
    appended(server, "secret/there", 1)
    token = "x" * 40
    there = ask(server, f"/-/streams/secret/there?token={token}")
    nowhere = ask(server, f"/-/streams/secret/nowhere?token={token}")
    odd = ask(server, "/-/streams/")
    assert there.status == nowhere.status == odd.status == 404
    assert there.body == nowhere.body == odd.body


def test_the_apps_hook_decides_with_the_clients_own_headers(server: Headgate) -> None:
    appended(server, "mine/a", 1)
    assert ask(server, "/-/streams/mine/a").status == 404
    answer = ask(server, "/-/streams/mine/a", x_user="ann")
    assert (answer.status, answer.json) == (200, [1])
    assert answer.headers["cache-control"].startswith("private"), "another client may not be given it"
    assert ask(server, "/-/streams/mine/a", "POST", 2, x_user="ann").status == 404
    assert ask(server, "/-/streams-access?stream=mine/a&access=read", x_user="ann").status == 404, "not from outside"


def test_a_jobs_stream_is_read_by_the_jobs_address_and_by_its_own(server: Headgate) -> None:
    told = ask(server, "/count/3", "POST").json
    assert result(server.url + told["url"]) == 3
    for address in (told["stream"], told["url"].replace("/-/jobs/", "/-/streams/jobs/")):
        answer = ask(server, address)
        kinds = [one["event"] for one in answer.json]
        assert kinds == ["queued", "started", *["log"] * 3, "result"]
        assert answer.json[-1] == {**answer.json[-1], "data": {"result": 3}, "terminal": True}
        assert answer.headers["stream-closed"] == "true"
    assert ask(server, told["stream"], "POST", {}).status == 404
    assert ask(server, told["stream"].replace("offset", "x") + "&offset=0000000000000005").json[0]["event"] == "result"


def test_a_long_poll_waits_and_answers_with_what_comes(server: Headgate) -> None:
    url = appended(server, "poll", 1)["url"]
    empty = ask(server, f"{url}&live=long-poll&offset=0000000000000001")
    assert (empty.status, empty.headers["stream-up-to-date"]) == (204, "true")
    assert empty.headers["stream-cursor"]
    assert ask(server, f"{url}&live=long-poll&offset=-1").json == [1]


def test_what_is_out_of_retention_is_told_with_the_place_to_go_on(server: Headgate) -> None:
    for start in range(0, 300, 50):
        url = appended(server, "long", *range(start, start + 50))["url"]
    refused = ask(server, f"{url}&offset=0000000000000010")
    assert refused.status == 410
    assert "keeps 100 events" in refused.json["reason"]
    rest = ask(server, f"{url}&offset={refused.headers['stream-next-offset']}")
    assert rest.json[-1] == 299
    first = ask(server, url)
    assert first.json == rest.json
    assert "keeps 100 events" in first.headers["stream-truncated"]
    events = follow(server.url + url, from_=10)
    truncated = next(events)
    assert truncated.kind == "truncated"
    assert "keeps 100 events" in truncated.data["reason"]
    assert next(events).data == rest.json[0]


def test_published_history_is_a_stream(server: Headgate) -> None:
    for number in range(3):
        url = ask(server, "/publish/room", "POST", {"n": number}).json["url"]
    assert ask(server, url).json == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_an_answer_that_is_known_is_not_sent_again(server: Headgate) -> None:
    told = appended(server, "tagged", 1)
    etag = ask(server, told["url"]).headers["etag"]
    assert ask(server, told["url"], if_none_match=etag).status == 304
    appended(server, "tagged", 2)
    assert ask(server, told["url"], if_none_match=etag).json == [1, 2]


def test_the_client_is_served_with_its_types(server: Headgate) -> None:
    script = ask(server, "/-/client.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert b"headgate-session" in script.body
    assert ask(server, "/-/client.js", if_none_match=script.headers["etag"]).status == 304
    assert b"export function connect" in ask(server, "/-/client.d.ts").body


def test_a_program_follows_through_cuts_in_order_and_once(server: Headgate) -> None:
    told = ask(server, "/count/100", "POST").json
    with Cuts(server.port) as proxy:
        events = []
        for event in follow(f"http://127.0.0.1:{proxy.port}{told['url']}"):
            events.append(event)
            if len(events) in (20, 50):
                proxy.cut()
        assert proxy.passed >= 3
    assert [int(event.offset) for event in events] == list(range(1, 104))
    assert (events[-1].kind, events[-1].terminal) == ("result", True)
    again = list(follow(server.url + told["url"], from_=events[59].offset))
    assert again == events[60:]


def test_an_event_loop_follows_too(server: Headgate) -> None:
    told = ask(server, "/count/60", "POST").json

    async def both() -> tuple[list[int], Any]:
        with Cuts(server.port) as proxy:
            address = f"http://127.0.0.1:{proxy.port}{told['stream']}"
            offsets = []
            async for event in afollow(address):
                offsets.append(int(event.offset))
                if len(offsets) == 20:
                    proxy.cut()
            return offsets, await aresult(address, timeout=20)

    offsets, value = asyncio.run(both())
    assert offsets == list(range(1, 64))
    assert value == 60


def test_a_half_open_connection_is_left_after_the_silence(server: Headgate) -> None:
    told = ask(server, "/count/100", "POST").json
    with Cuts(server.port) as proxy:
        events = []
        for event in follow(f"http://127.0.0.1:{proxy.port}{told['url']}", silence=1.0):
            events.append(event)
            if len(events) == 10:
                proxy.stall()
    assert [int(event.offset) for event in events] == list(range(1, 104))


def test_a_silent_stream_shows_signs_of_life_and_ends_now_and_then(server: Headgate) -> None:
    url = appended(server, "quiet", 1)["url"]
    with urllib.request.urlopen(f"{server.url}{url}&live=sse&offset=-1", timeout=10) as answer:
        text = answer.read().decode()
    assert text.startswith("retry: ")
    assert text.count(": still here") >= 3
    assert "id: 0000000000000001\nevent: data\ndata:[1]" in text
    since = time.monotonic()
    events = follow(server.url + url, from_=1)
    appended(server, "quiet", 2)
    assert next(events).data == 2
    while time.monotonic() - since < 2.5:  # it outlives the answer's own end
        appended(server, "quiet", 3)
        assert next(events).data == 3


def test_what_is_not_there_is_told_at_once(server: Headgate) -> None:
    told = ask(server, "/count/1", "POST").json
    with pytest.raises(UnknownStream):
        result(server.url + told["url"][:-4])
    with pytest.raises(ValueError, match="absolute"):
        result(told["url"])
    with pytest.raises(Unavailable, match="has not answered"):
        result(f"http://127.0.0.1:{free_port()}{told['url']}", patience=0.3)


def test_a_failed_job_raises_in_the_program(server: Headgate) -> None:
    told = ask(server, "/count/-1", "POST")
    assert told.status == 404
    told = ask(server, "/fail", "POST").json
    with pytest.raises(JobFailed, match="on purpose"):
        result(server.url + told["url"])


def test_a_read_holds_no_app_worker(server: Headgate) -> None:
    url = appended(server, "held", 1)["url"]
    waiting = [urllib.request.urlopen(f"{server.url}{url}&live=sse&offset=-1", timeout=10) for _ in range(60)]
    try:
        assert ask(server, "/page").status == 200
        until(lambda: ask(server, "/page").status == 200, "the app answers beside 60 readers")
    finally:
        for one in waiting:
            one.close()
