"""The browser client through real disconnects: what is followed comes whole, once and in order, whatever breaks."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chromium import Page
from tests.support.cuts import Cuts
from tests.support.headgate import Headgate
from tests.support.wait import until

PAGE = "/page"
SCRIPT = """
import { connect, follow, Lost } from "/-/client.js";
window.api = { connect, follow, Lost };
window.watched = (job) => {
  const log = { offsets: [], done: [], result: undefined, failed: undefined, truncated: 0 };
  job.onevent = (one) => log.offsets.push(one.offset);
  job.onstate = (event, data) => event === 'log' && log.done.push(data.done);
  job.onresult = (result) => (log.result = result);
  job.onfailed = (failed) => (log.failed = failed);
  job.ontruncated = () => log.truncated++;
  return log;
};
window.ready = true;
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Headgate]:
    app, root = "tests.support.streams_app:app", Path(__file__).resolve().parents[2]
    with (
        tempfile.TemporaryDirectory(prefix="hg-", dir="/tmp") as folder,
        Headgate(app, Path(folder), "--gateways", "2", app_folder=root) as running,
    ):
        yield running


@pytest.fixture
def proxy(server: Headgate) -> Iterator[Cuts]:
    with Cuts(server.port) as between:
        yield between


@pytest.fixture
def client(proxy: Cuts, page: Page) -> Page:
    """A page that has the client; its server is behind the proxy, which can be cut."""
    page.goto(f"http://127.0.0.1:{proxy.port}{PAGE}")
    page.evaluate(f"import({json.dumps('data:text/javascript,')})")
    page.evaluate(
        "new Promise((yes) => { const s = document.createElement('script'); s.type = 'module';"
        f" s.textContent = {json.dumps(SCRIPT)}; document.head.append(s); yes(); }})"
    )
    page.wait_for("window.ready === true")
    return page


def start(page: Page, most: int, pause: float = 0.02) -> None:
    page.evaluate(
        "(async () => { window.desk = api.connect('/ws'); window.states = [];"
        " desk.onstate = (state) => states.push(state);"
        f" const {{ job, url }} = await desk.call({{ type: 'count', most: {most}, pause: {pause} }});"
        " window.job = desk.follow(job); window.log = watched(window.job); })()"
    )


def whole(page: Page, most: int) -> None:
    """Queued, started, each line, the result: each offset once and in order."""
    page.wait_for("log.result !== undefined || log.failed !== undefined", 60)
    log = page.evaluate("log")
    assert log["result"] == most, log
    assert log["truncated"] == 0
    numbers = [int(offset) for offset in log["offsets"]]
    assert numbers == sorted(set(numbers)), "an event came twice, or out of order"
    assert numbers[0] == 1
    assert page.evaluate("job.done") is True


def test_a_job_is_followed_through_cut_connections(client: Page, proxy: Cuts) -> None:
    start(client, 150)
    for _ in range(3):
        seen = client.wait_for("log.done.length")
        proxy.cut()
        client.wait_for(f"log.done.length > {seen}", 30)
    whole(client, 150)
    numbers = [int(offset) for offset in client.evaluate("log.offsets")]
    assert numbers == list(range(1, 154)), "a client that keeps up gets every event"
    assert client.evaluate("states.filter((one) => one === 'waiting').length") >= 3


def test_a_job_is_followed_through_a_killed_gateway(client: Page, server: Headgate) -> None:
    start(client, 200)
    client.wait_for("log.done.length > 5", 30)
    for index in (0, 1):
        server.kill("gateway", index=index)
        until(server.ready, "the gateway is back", 30)
    whole(client, 200)


def test_a_socket_that_is_dead_and_looks_alive_is_replaced_on_waking(client: Page, proxy: Cuts) -> None:
    start(client, 200)
    client.wait_for("log.done.length > 5", 30)
    proxy.stall()
    seen = client.evaluate("log.done.length")
    client.call("Page.setWebLifecycleState", state="frozen")

    client.call("Page.setWebLifecycleState", state="active")
    client.wait_for(f"log.done.length > {seen + 5}", 30)
    whole(client, 200)


def test_a_reloaded_page_goes_on_from_what_it_kept(client: Page) -> None:
    start(client, 150)
    client.wait_for("log.done.length > 10 && job.token !== undefined", 30)
    kept = client.evaluate("JSON.stringify(job)")
    last = int(client.evaluate("job.offset"))
    client.evaluate("desk.close()")
    client.evaluate(f"window.desk = api.connect('/ws'); window.job = desk.follow({kept}); window.log = watched(job)")
    client.wait_for("log.result !== undefined", 60)
    numbers = [int(offset) for offset in client.evaluate("log.offsets")]
    assert numbers == list(range(int(json.loads(kept)["offset"]) + 1, 154))
    assert last >= int(json.loads(kept)["offset"])


def test_a_stream_is_followed_by_its_address_alone(client: Page, proxy: Cuts) -> None:
    client.evaluate(
        "(async () => { const told = await (await fetch('/count/150', { method: 'POST' })).json();"
        " window.job = api.follow(told.stream); window.log = watched(job); })()"
    )
    client.wait_for("log.done.length > 5", 30)
    proxy.cut()
    whole(client, 150)
    assert [int(one) for one in client.evaluate("log.offsets")] == list(range(1, 154))


def test_where_no_socket_passes_what_is_followed_comes_by_events(client: Page, proxy: Cuts) -> None:
    client.evaluate(
        "(async () => { const told = await (await fetch('/count/100', { method: 'POST' })).json();"
        " window.address = new URL(told.stream, location); })()"
    )
    client.wait_for("window.address !== undefined")
    proxy.refuse(b"Upgrade: websocket")
    client.evaluate(
        "window.desk = api.connect('/ws', { fallback: 2 });"
        " window.job = desk.follow({ stream: address.pathname.split('/-/streams/')[1], offset: '0'.repeat(16),"
        " token: address.searchParams.get('token') }); window.log = watched(job)"
    )
    whole(client, 100)
    assert client.evaluate("desk.state") == "waiting"


def test_bare_messages_of_a_stream_come_once(client: Page, proxy: Cuts) -> None:
    client.evaluate(
        "window.add = (...all) => fetch('/append/open/bare', { method: 'POST', body: JSON.stringify(all),"
        " headers: { 'content-type': 'application/json' } }).then((one) => one.json());"
        " add(1, 2, 3).then(({ url }) => { window.got = []; api.follow(url, {"
        " onevent: ({ event, data }) => got.push([event, data]) }); })"
    )
    client.wait_for("window.got?.length === 3", 30)
    proxy.cut()
    client.evaluate("add(4, 5)")
    client.wait_for("got.length >= 5", 30)
    assert client.evaluate("got") == [["message", number] for number in (1, 2, 3, 4, 5)]


def test_an_answer_that_is_lost_is_told_and_one_that_waits_is_sent_later(client: Page, proxy: Cuts) -> None:
    client.evaluate("window.desk = api.connect('/ws')")
    client.wait_for("desk.state === 'open'")
    assert client.evaluate("desk.call({ type: 'echo', x: 1 }).then((one) => one.x)") == 1
    proxy.stall()
    client.evaluate("window.fate = 'none'; desk.call({ type: 'echo' }).catch((e) => (fate = e instanceof api.Lost)); 0")

    proxy.cut()
    client.wait_for("fate === true", 30)
    client.evaluate("window.later = desk.call({ type: 'echo', x: 2 }); 0")
    assert client.evaluate("later.then((one) => one.x)") == 2
