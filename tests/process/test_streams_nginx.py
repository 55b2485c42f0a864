"""nginx in front of streams: a crowd that catches up costs one request, and events are not held back."""

from __future__ import annotations

import json
import tempfile
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headgate.client import follow, result
from tests.support.headgate import Headgate
from tests.support.nginx import Nginx
from tests.support.wait import free_port

ROOT = Path(__file__).resolve().parents[2]
FRONT = """
proxy_cache_path {folder} keys_zone=streams:1m;
server {{
    listen 127.0.0.1:{port};
    location / {{
        proxy_pass http://127.0.0.1:{target};
        proxy_http_version 1.1;
        proxy_set_header Host $host:$server_port;
        proxy_set_header Connection '';
        proxy_cache streams;
        proxy_cache_lock on;
        proxy_cache_use_stale updating;
        add_header x-cache $upstream_cache_status;
    }}
}}
"""


@pytest.fixture(scope="module")
def front() -> Iterator[tuple[Headgate, Nginx]]:
    with tempfile.TemporaryDirectory(prefix="hg-", dir="/tmp") as folder:
        cache = Path(folder) / "cache"
        cache.mkdir()
        with Headgate("tests.support.streams_app:app", Path(folder), app_folder=ROOT) as server:
            port = free_port()
            with Nginx(FRONT.format(folder=cache, port=port, target=server.port), port) as nginx:
                yield server, nginx


def post(url: str, body: bytes) -> bytes:
    request = urllib.request.Request(url, body, {"content-type": "application/json"}, method="POST")
    with urllib.request.urlopen(request, timeout=20) as answer:
        return bytes(answer.read())


def test_a_crowd_that_catches_up_is_answered_by_one_request(front: tuple[Headgate, Nginx]) -> None:

    server, nginx = front
    address = json.loads(post(f"{server.url}/append/crowd", b"[1, 2, 3]"))["url"]

    def read(_: int) -> tuple[str, bytes]:
        with urllib.request.urlopen(f"{nginx.url}{address}&offset=-1", timeout=20) as answer:
            return str(answer.headers["x-cache"]), bytes(answer.read())

    with ThreadPoolExecutor(20) as crowd:
        answers = list(crowd.map(read, range(60)))
    assert {body for _, body in answers} == {b"[1,2,3]"}
    assert Counter(cache for cache, _ in answers) == {"MISS": 1, "HIT": 59}
    # What the app's hook allowed to one client is not given to the next.
    post(f"{server.url}/append/mine/a", b"[1]")
    for user, status in (("ann", 200), ("bob", 404), ("ann", 200)):
        request = urllib.request.Request(f"{nginx.url}/-/streams/mine/a", headers={"x-user": user})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                seen = answer.status
        except urllib.error.HTTPError as refusal:
            seen = refusal.code
        assert seen == status


def test_events_pass_as_they_come(front: tuple[Headgate, Nginx]) -> None:

    server, nginx = front
    told = json.loads(post(f"{server.url}/count/30", b"{}"))
    events = follow(nginx.url + told["url"])
    assert next(events).kind == "queued", "nginx does not wait for the end"
    assert [int(event.offset) for event in events] == list(range(2, 34))
    assert result(nginx.url + told["url"]) == 30
