"""What an operator sees of a gateway: status, metrics, access log, job addresses."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from typing import Any

import httpx
import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from headgate.base.clock import ManualClock
from headgate.base.model import JobSpec, Outcome, Settlement, new_id
from headgate.base.offload import FUNCTION, StoredResponse
from headgate.base.tokens import Tokens, job_url
from headgate.drivers.memory.engine import MemoryEngine
from headgate.gateway.access import as_json, combined, entry, logfmt
from headgate.gateway.heads import Head
from headgate.link.messages import Reject, Request
from tests.process.gateway_rig import Rig, quick, until

pytestmark = pytest.mark.anyio


async def ask(rig: Rig, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=10) as client:
        return await client.request(method, rig.url + path, headers=headers)


BAD_HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: short\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def metrics(rig: Rig, target: str = "/metrics") -> str:
    path = str(rig.gateway.settings.folder.admin(0))
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % target.encode())
    answer = await quick(reader.read())
    writer.close()
    return str(answer.decode())


async def test_metrics_are_counted_and_not_on_the_public_address() -> None:
    async with Rig() as rig:
        worker = await rig.worker()
        worker.on_request = lambda request: worker.respond(request, b"abc", run=0.02)
        for _ in range(3):
            await ask(rig, "/")
        text = await metrics(rig)
        assert 'headgate_requests_total{lane="fast",status="2xx"} 3' in text
        assert 'headgate_run_seconds_bucket{lane="fast",le="0.01"} 0' in text
        assert 'headgate_run_seconds_bucket{lane="fast",le="0.025"} 3' in text
        assert 'headgate_run_seconds_count{lane="fast"} 3' in text
        assert "headgate_sent_bytes_total 9" in text
        assert 'headgate_lane_slots{lane="fast"} 4' in text
        assert "# TYPE headgate_closed_slow_total counter" in text
        assert 'headgate_limited_total{bound="message_rate"} 0' in text
        assert (await metrics(rig, "/other")).startswith("HTTP/1.1 404 ")
        slow = await rig.worker("s", "slow")
        slow.on_request = lambda request: slow.respond(request, b"", status=404)
        assert (await ask(rig, "/metrics")).status_code == 404, "that one is the app's"


async def test_status_names_lanes_workers_and_handlers() -> None:
    async with Rig() as rig:
        await rig.worker()
        await ask(rig, "/")
        stats = await until(lambda: rig.stats if rig.stats.get("handlers") else None, "a report")
        assert stats["ready"] == "no app worker is linked in every lane yet"
        assert [worker["name"] for worker in stats["workers"]] == ["w1"]
        assert stats["lanes"]["fast"]["slots"] == 4
        handler = next(one for one in stats["handlers"] if one["name"] == "GET /")
        assert (handler["lane"], handler["why"]) == ("fast", "pinned by the configuration")
        msgspec.json.encode(stats)


async def test_the_access_log_has_a_line_per_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "headgate.access")
    async with Rig(access_log=True) as rig:
        await rig.worker()
        answer = await ask(rig, "/?q=1", traceparent="00-abc-def-01")
        await until(lambda: caplog.records, "the line")
        text = caplog.records[0].getMessage()
        assert text.startswith("127.0.0.1 GET /?q=1 status=200 bytes=2 lane=fast wait=")
        assert f"id={answer.headers['x-request-id']} traceparent=00-abc-def-01" in text


def test_no_client_can_forge_a_line_of_the_access_log() -> None:
    head = Head(("192.0.2.1", 1), "http")
    head.request_id, head.traceparent = "i", b"a\r\n127.0.0.1 GET / status=200"

    agent = b'me" 200 0 "\r\nx'
    scope: dict[str, Any] = {
        "method": "GET", "raw_path": b'/\xff"\n', "query_string": b"", "headers": [(b"user-agent", agent)]
    }  # fmt: skip
    one = entry(scope, head, "slow", "GET *", 200, 0, 0.5, 0.25)
    for text in (logfmt(one), combined(one), as_json(one)):
        assert "\n" not in text
        assert "\r" not in text
    assert "GET /\\xff\\x22\\x0a status=200" in logfmt(one)
    assert "wait=500.0ms run=250.0ms" in logfmt(one)
    assert combined(one).startswith("192.0.2.1 - - [")
    assert '"GET /\\xff\\x22\\x0a HTTP/1.1" 200 0 "-" "me\\x22 200 0 \\x22\\x0d\\x0ax" lane=slow ' in combined(one)
    told = json.loads(as_json(one))
    assert (told["status"], told["wait"], told["run"], told["lane"], told["handler"]) == (
        200,
        0.5,
        0.25,
        "slow",
        "GET *",
    )


@pytest.mark.parametrize("form", ["combined", "json"])
async def test_lines_for_programs_stand_alone(form: Any, capsys: pytest.CaptureFixture[str]) -> None:
    async with Rig(access_log=True, access_log_format=form) as rig:
        await rig.worker()
        await ask(rig, "/?q=1", **{"user-agent": "me", "referer": "http://x/"})
        said = (await until(lambda: capsys.readouterr().err, "the line")).rstrip("\n")
    if form == "json":
        told = json.loads(said)
        assert (told["method"], told["target"], told["status"], told["agent"]) == ("GET", "/?q=1", 200, "me")
        assert told["run"] == 0.001
        assert told["wait"] >= 0
    else:
        when = r"\[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"
        ours = r'lane=fast wait=\d\.\d{6} run=0\.001000 handler="GET /" id=\w+ traceparent=-'
        assert re.fullmatch(rf'127\.0\.0\.1 - - {when} "GET /\?q=1 HTTP/1\.1" 200 2 "http://x/" "me" {ours}', said)


async def test_handshakes_and_refusals_are_logged_and_counted_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "headgate.access")
    async with Rig(access_log=True, max_body=10) as rig:
        worker = await rig.worker()
        async with connect(rig.ws_url + "/ws?a=1", additional_headers={"traceparent": "00-abc-def-01"}):
            pass
        worker.on_open = lambda one: worker.send(Reject(one.stream, 403, [], b"no", one.handler, 0.25))
        with pytest.raises(InvalidStatus):
            await quick(connect(rig.ws_url + "/ws").__aenter__())
        with pytest.raises(InvalidStatus):
            await quick(connect(rig.ws_url + "/-/ws").__aenter__())
        assert b" 400 " in await rig.talk(BAD_HANDSHAKE)
        async with httpx.AsyncClient(timeout=10) as client:
            assert (await client.post(rig.url + "/echo", content=b"x" * 11)).status_code == 413
            unknown = await client.get(rig.url + "/-/jobs/x")
            assert unknown.headers["x-request-id"]
            await client.get(rig.url + "/-/live")
        lines = [record.getMessage() for record in caplog.records]
        assert len(lines) == 6
        assert "GET /ws?a=1 status=101 bytes=0 lane=fast" in lines[0]
        assert lines[0].endswith("traceparent=00-abc-def-01")
        assert "GET /ws status=403 bytes=2 lane=fast" in lines[1]
        assert "run=250.0ms" in lines[1]
        assert "GET /-/ws status=404" in lines[2]
        assert "GET /ws status=400" in lines[3]
        assert "POST /echo status=413" in lines[4]
        assert rig.limited() == {"max_body": 1}
        assert f"id={unknown.headers['x-request-id']}" in lines[5]
        text = await metrics(rig)
        assert 'headgate_requests_total{lane="fast",status="1xx"} 1' in text
        assert 'headgate_requests_total{lane="fast",status="4xx"} 1' in text
        assert 'headgate_requests_total{lane="own",status="4xx"} 4' in text


async def test_the_trace_of_a_request_goes_on_to_the_app() -> None:
    async with Rig() as rig:
        worker = await rig.worker()
        await ask(rig, "/", traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", tracestate="a=b")
        headers = dict((await worker.next(Request)).scope.headers)
        assert headers[b"traceparent"] == b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        assert headers[b"tracestate"] == b"a=b"


SECRET = "s" * 32


async def test_a_jobs_address_shows_its_state_to_who_has_the_token() -> None:
    engine = MemoryEngine()
    async with Rig(engine) as rig:
        await until(lambda: rig.gateway.unready() != "the broker does not answer yet", "the engine is open")
        arguments = msgspec.msgpack.encode([[], {}])
        job = JobSpec(id=new_id(), function="m:f", arguments=arguments)
        await engine.sink.put([job])
        tokens = Tokens(SECRET)
        url = job_url(tokens, job.id, 60)
        answer = await ask(rig, url)
        assert (answer.status_code, answer.json()["state"]) == (200, "queued")
        assert answer.headers["retry-after"] == "1"
        again = await ask(rig, url, **{"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert (await ask(rig, url, "POST")).status_code == 405
        for wrong in (
            job_url(tokens, new_id(), 60),
            url.replace("token=", "token=x"),
            f"/-/jobs/{new_id()}?{url.partition('?')[2]}",
            job_url(Tokens("other" * 8), job.id, 60),
            job_url(tokens, job.id, -1),
            url.partition("?")[0],
        ):
            assert (await ask(rig, wrong)).status_code == 404
        assert (await ask(rig, url, "DELETE")).json()["state"] == "cancelled"
        assert (await ask(rig, url, "DELETE")).status_code == 409
        assert "retry-after" not in (await ask(rig, url)).headers


async def test_the_address_of_a_request_that_ran_as_a_job_gives_its_response() -> None:
    engine = MemoryEngine()
    async with Rig(engine) as rig:
        await until(lambda: rig.gateway.unready() != "the broker does not answer yet", "the engine is open")
        job = JobSpec(id=new_id(), function=FUNCTION, arguments=msgspec.msgpack.encode([[], {}]))
        await engine.sink.put([job])
        url = job_url(Tokens(SECRET), job.id, 60)
        assert (await ask(rig, url)).json()["state"] == "queued"
        claim = (await quick(engine.source.take("w", ["*"], 1)))[0]
        headers = [
            (b"content-type", b"text/csv"),
            (b"connection", b"close"),
            (b"x-a", b"1"),
            (b"content-length", b"99"),
        ]
        result = msgspec.msgpack.encode(StoredResponse(201, headers, b"a,b"))
        done = Settlement(id=job.id, epoch=claim.job.epoch, outcome=Outcome.SUCCEEDED, result=result)
        assert await engine.source.settle("w", [done]) == [True]
        answer = await ask(rig, url)
        assert (answer.status_code, answer.text, answer.headers["content-type"]) == (201, "a,b", "text/csv")
        assert answer.headers["x-a"] == "1"


def test_tokens_are_for_one_thing_and_a_time() -> None:
    clock = ManualClock()
    tokens = Tokens(SECRET, clock)
    token = tokens.sign("job", "a", 60)
    assert tokens.allows(token, "job", "a")
    assert not tokens.allows(token, "job", "b")
    assert not tokens.allows(token, "stream", "a")
    assert not tokens.allows("", "job", "a")
    assert not tokens.allows("x" * 5000, "job", "a")
    clock.step(61)
    assert not tokens.allows(token, "job", "a")
