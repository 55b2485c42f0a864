"""The built-in scenarios: what they send, and how they read what comes."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from headgate.simulate.builtin import Clicks
from headgate.simulate.builtin_http import HttpClicks
from headgate.simulate.scenario import Reply, Scenario, User
from headgate.simulate.wire.http import HttpRequest, HttpResponse


def user(**following: Any) -> User:
    return User(0, random.Random(1), following={f"jobs/{job}": offset for job, offset in following.items()})


def read(message: Any, **params: Any) -> Reply | None:
    return Clicks(params).read(user(), message if isinstance(message, str | bytes) else json.dumps(message))


def test_clicks_are_json_that_can_be_renamed() -> None:
    assert Clicks().act(user(), 7, False).message == {"type": "click", "id": 7}
    assert Clicks().act(user(), 8, True).message == {"type": "update", "id": 8}
    params = {"light": "ping", "type_key": "t", "id_key": "n", "extra": {"a": 1}, "heavy_extra": {"b": 2}}
    assert Clicks(params).act(user(), 7, False).message == {"t": "ping", "n": 7, "a": 1}
    assert Clicks(params).act(user(), 8, True).message == {"t": "update", "n": 8, "a": 1, "b": 2}


@pytest.mark.parametrize(
    ("message", "reply"),
    [
        ({"type": "answer", "id": 7}, Reply("answer", id=7)),
        ({"id": 7, "job_id": "j"}, Reply("answer", id=7, job="j")),
        ({"headgate": "error", "id": 7, "error": "busy"}, Reply("error", id=7, detail="busy")),
        ({"headgate": "error", "error": "internal"}, None),
        ({"headgate": "event", "stream": "jobs/j", "offset": "02", "event": "progress"}, ("event", "02")),
        ({"headgate": "event", "stream": "jobs/j", "offset": "03", "event": "result"}, ("result", "03")),
        ({"headgate": "event", "stream": "jobs/j", "offset": "03", "event": "failed"}, ("failed", "03")),
        ({"headgate": "event", "stream": "jobs/j", "offset": "03", "event": "cancelled"}, ("failed", "03")),
        ({"headgate": "event", "stream": "jobs/j", "offset": "03", "event": "gone"}, ("failed", "03")),
        ({"headgate": "event", "stream": "jobs/j", "offset": "03", "event": "truncated"}, ("truncated", "03")),
        ({"headgate": "event"}, None),
        ({"news": 1}, None),
        ([1, 2], None),
        ("not json", None),
        (b"\x00\x01", None),
    ],
)
def test_messages_are_understood(message: Any, reply: Any) -> None:
    if isinstance(reply, tuple):
        reply = Reply(reply[0], stream="jobs/j", offset=reply[1])
    assert read(message) == reply


def test_a_resume_follows_again_from_the_last_offset() -> None:
    assert Clicks().resume(user(a="0003", b=None)) == [
        {"type": "follow", "job": "a", "after": "0003"},
        {"type": "follow", "job": "b", "after": "0"},
    ]
    assert Clicks({"resume": False}).resume(user(a="0003")) == ()


def response(status: int, body: Any = None, click: int | None = 7, **headers: str) -> HttpResponse:
    return HttpResponse(status, headers, json.dumps(body).encode(), click, HttpRequest(path="/jobs/1"))


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (response(200), Reply("answer", id=7)),
        (response(404), Reply("error", id=7, detail="HTTP 404")),
        (response(0), Reply("lost", id=7, detail="the connection broke before the answer")),
        (response(202), Reply("answer", id=7)),
        (
            response(202, location="/jobs/1"),
            Reply("answer", id=7, job="/jobs/1", then=HttpRequest(path="/jobs/1"), wait=0.5),
        ),
        (response(200, {"state": "succeeded"}, click=None), Reply("result", job="/jobs/1")),
        (response(200, {"state": "failed"}, click=None), Reply("failed", job="/jobs/1")),
        (response(404, click=None), Reply("failed", job="/jobs/1")),
        (response(200, "the view's own answer", click=None), Reply("result", job="/jobs/1")),
    ],
)
def test_responses_are_understood(answer: HttpResponse, reply: Reply) -> None:
    assert HttpClicks().read(user(), answer) == reply


@pytest.mark.parametrize(
    ("answer", "wait"),
    [
        (response(200, {"state": "running"}, click=None), 0.5),
        (response(202, click=None, **{"retry-after": "2"}), 2.0),
        (response(503, click=None, **{"retry-after": "999"}), 10.0),
        (response(0, click=None), 0.5),
    ],
)
def test_a_job_that_goes_on_is_asked_for_again(answer: HttpResponse, wait: float) -> None:
    reply = HttpClicks().read(user(), answer)
    assert reply is not None
    assert (reply.kind, reply.then, reply.wait) == ("event", HttpRequest(path="/jobs/1"), wait)


def test_heavy_requests_prefer_to_be_answered_later() -> None:
    heavy = HttpClicks({"heavy_path": "/reprice", "heavy_body": {"b": 1}}).act(user(), 7, True).message
    assert heavy == HttpRequest("POST", "/reprice", {"Prefer": "respond-async"}, {"b": 1})
    assert HttpClicks({"prefer": ""}).act(user(), 7, True).message.headers == {}


def test_a_scenario_must_say_what_it_does() -> None:
    scenario = Scenario()
    with pytest.raises(NotImplementedError, match=r"define act\(\)"):
        scenario.act(user(), 1, False)
    with pytest.raises(NotImplementedError, match=r"define read\(\)"):
        scenario.read(user(), "")
