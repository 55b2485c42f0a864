"""HTTP through a gateway, with app workers played by the test."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.server import ServerProtocol

from headgate.gateway.connection import Connection
from headgate.gateway.httpproto import HttpProtocol
from headgate.gateway.wire import Wire
from headgate.link.messages import Bounce, Cancel, Chunk, Credit, Draining, Fail, Head, Request
from headgate.link.session import PIECE
from tests.process.gateway_rig import FakeWorker, Rig, quick, until

pytestmark = pytest.mark.anyio

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def get(rig: Rig, path: str = "/", **options: object) -> httpx.Response:
    async with httpx.AsyncClient(timeout=10) as client:
        return await client.request(options.pop("method", "GET"), rig.url + path, **options)  # type: ignore[arg-type]


async def test_a_request_reaches_a_worker_and_its_answer_the_client() -> None:
    async with Rig() as rig:
        worker = await rig.worker()
        answer = await get(rig, "/?a=1", headers={"X-Forwarded-For": "198.51.100.7", "X_Spoof": "1"})
        assert (answer.status_code, answer.text) == (200, "ok")
        assert answer.headers["content-length"] == "2"
        assert "server" not in answer.headers
        request = worker.seen(Request)[0]
        assert (request.handler, request.scope.path, request.scope.query) == ("GET /", "/", b"a=1")
        assert request.scope.client == ("198.51.100.7", 0)
        assert answer.headers["x-request-id"] == request.scope.request_id
        names = [name for name, _ in request.scope.headers]
        assert b"x_spoof" not in names
        assert b"connection" not in names


@pytest.mark.parametrize(("size", "in_file"), [(10, False), (65_536, False), (65_537, True), (1_000_000, True)])
async def test_a_body_comes_whole_in_memory_or_as_a_file_that_is_removed(size: int, in_file: bool) -> None:
    async with Rig() as rig:
        worker = await rig.worker()
        bodies: list[bytes] = []

        def keep(request: Request) -> None:
            assert (request.body_path is not None) == in_file
            if request.body_path:
                with open(request.body_path, "rb") as file:
                    bodies.append(file.read())
            else:
                bodies.append(request.body)
            worker.respond(request, b"ok")

        worker.on_request = keep
        content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)

        async def pieces() -> AsyncIterator[bytes]:
            for at in range(0, size, 7_000):
                yield content[at : at + 7_000]

        assert (await get(rig, "/echo", method="POST", content=content)).status_code == 200
        assert (await get(rig, "/echo", method="POST", content=pieces())).status_code == 200
        assert bodies == [content, content]
        await until(lambda: not list(rig.gateway.spool.folder.iterdir()), "the spool is empty again")
        assert rig.gateway.spool.files == 0


async def test_a_body_over_the_limit_is_refused_and_nothing_is_kept() -> None:
    async with Rig(max_body=100_000) as rig:
        worker = await rig.worker()

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(20):
                yield b"x" * 10_000

        announced = await get(rig, "/echo", method="POST", content=b"x" * 100_001)
        piece = b"2710\r\n" + b"x" * 10_000 + b"\r\n"
        chunked = await rig.talk(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + piece * 13)
        assert announced.status_code == 413
        assert announced.json()["error"] == "body_too_large"
        assert chunked.startswith(b"HTTP/1.1 413 ")
        assert worker.seen(Request) == []
        await until(lambda: not list(rig.gateway.spool.folder.iterdir()), "the spool is empty again")


async def test_a_slow_upload_holds_no_worker_and_is_given_up() -> None:
    async with Rig(body_timeout=1) as rig:
        worker = await rig.worker()
        slow = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc"
        assert (await rig.talk(slow)).startswith(b"HTTP/1.1 408 ")
        assert worker.seen(Request) == []


async def test_continue_is_said_when_the_body_is_wanted() -> None:
    async with Rig(max_body=100) as rig:
        await rig.worker()
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert (await quick(reader.readuntil(b"\r\n\r\n"))).startswith(b"HTTP/1.1 100 ")
        writer.write(b"ab")
        assert (await quick(reader.readuntil(b"\r\n\r\n"))).startswith(b"HTTP/1.1 200 ")
        writer.close()
        refused = await rig.talk(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 200\r\n\r\n")
        assert refused.startswith(b"HTTP/1.1 413 "), "and not 100 first"


async def test_a_streamed_response_goes_no_faster_than_its_reader() -> None:
    async with Rig() as rig:
        worker = await rig.worker()
        worker.on_request = worker.hold
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port, limit=1_000)
        writer.write(GET)
        request = await worker.next(Request)
        worker.send(Head(request.stream, 200, [], b"", True, "GET /"))
        total = 12_000_000
        credit, sent, granted = 256 * 1024, 0, 0

        async def produce() -> None:
            nonlocal sent
            while sent < total:
                if sent - sum(one.amount for one in worker.seen(Credit)) + PIECE <= credit:
                    worker.send(Chunk(request.stream, b"x" * PIECE, True))
                    sent += PIECE
                else:
                    await asyncio.sleep(0.002)
            worker.send(Chunk(request.stream, b"", False, 0.1))

        producing = asyncio.create_task(produce())
        last = -1
        while sent != last:  # it comes to a stop: the client does not read
            last = sent
            await asyncio.sleep(0.1)
        granted = sent
        assert granted < total, "the gateway took all of it without a reader"
        await quick(reader.readuntil(b"\r\n\r\n"))
        received = 0
        while True:
            size = int(await quick(reader.readline()), 16)
            await quick(reader.readexactly(size + 2))
            received += size
            if not size:
                break
        await quick(producing)
        assert received == sent
        writer.close()


async def test_a_client_that_goes_away_is_told_to_the_worker_which_keeps_its_slot_until_it_is_done() -> None:
    async with Rig() as rig:
        worker = await rig.worker(slots=1)
        worker.on_request = worker.hold
        _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(GET)
        request = await worker.next(Request)
        waiting = asyncio.create_task(get(rig))
        await until(lambda: rig.gateway.exchange.board.state("fast", 0).waiting == 1, "the second request waits")
        writer.close()
        cancel = await worker.next(Cancel)
        assert cancel.stream == request.stream
        assert len(worker.seen(Request)) == 1
        worker.on_request = worker.ok
        worker.respond(request, b"too late")
        assert (await quick(waiting)).text == "ok"


async def test_a_waiting_request_whose_client_goes_is_never_run() -> None:
    async with Rig() as rig:
        worker = await rig.worker(slots=1)
        worker.on_request = worker.hold
        first = asyncio.create_task(get(rig))
        await worker.next(Request)
        _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(GET)
        state = rig.gateway.exchange.board.state
        await until(lambda: state("fast", 0).waiting == 1, "it waits")
        writer.close()
        await until(lambda: state("fast", 0).waiting == 0, "it waits no more")
        worker.ok(worker.seen(Request)[0])
        assert (await quick(first)).status_code == 200
        assert len(worker.seen(Request)) == 1


async def test_head_has_the_headers_and_no_body() -> None:
    async with Rig() as rig:
        await rig.worker()
        answer = await rig.talk(LAST.replace(b"GET", b"HEAD"))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"content-length: 2\r\n" not in answer or answer.endswith(b"\r\n\r\n")
        assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("status", [204, 304])
async def test_responses_without_a_body(status: int) -> None:
    async with Rig() as rig:
        worker = await rig.worker()
        worker.on_request = lambda request: worker.respond(request, b"", status=status)
        answer = await rig.talk(LAST)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert answer.endswith(b"\r\n\r\n")
        assert b"transfer-encoding" not in answer


async def test_a_failed_handler_is_a_500_with_an_error_id() -> None:
    async with Rig() as rig:
        worker = await rig.worker()
        worker.on_request = lambda request: worker.send(Fail(request.stream, "GET /", "e-17", 0.001))
        answer = await get(rig)
        assert answer.status_code == 500
        assert answer.json()["error_id"] == "e-17"


@pytest.mark.parametrize("how", ["fail", "die"])
async def test_a_response_that_breaks_off_cuts_the_connection(how: str) -> None:
    async with Rig() as rig:
        worker = await rig.worker()

        def break_off(request: Request) -> None:
            worker.send(Head(request.stream, 200, [], b"part", True, "GET /"))
            if how == "fail":
                worker.send(Fail(request.stream, "GET /", "e", 0.1))

        worker.on_request = break_off
        talking = asyncio.create_task(rig.talk(GET))
        await worker.next(Request)
        if how == "die":
            await until(lambda: rig.gateway.web.active, "under way")
            await asyncio.sleep(0.05)
            await worker.die()
        answer = await quick(talking)
        assert b"4\r\npart\r\n" in answer
        assert b"0\r\n\r\n" not in answer


async def test_a_dead_worker_fails_its_own_requests_and_no_others() -> None:
    async with Rig() as rig:
        doomed = await rig.worker("doomed", slots=1)
        doomed.on_request = doomed.hold
        first = asyncio.create_task(get(rig))
        await doomed.next(Request)
        other = await rig.worker("other", slots=1)
        other.on_request = other.hold
        second = asyncio.create_task(get(rig))
        await other.next(Request)
        await doomed.die()
        answer = await quick(first)
        assert (answer.status_code, answer.json()["error"]) == (502, "worker_lost")
        assert answer.headers["retry-after"] == "1"
        other.ok(other.seen(Request)[0])
        assert (await quick(second)).status_code == 200


async def test_requests_wait_for_a_worker_and_give_up_in_time() -> None:
    async with Rig(queue_length=1, slow_queue_age=0.3) as rig:
        first = asyncio.create_task(get(rig))  # no worker has told the rules yet: everything is unproven
        await until(lambda: rig.gateway.exchange.board.state("slow", 0).waiting == 1, "it waits")
        full = await get(rig)
        assert (full.status_code, full.json()["error"]) == (503, "busy")
        assert int(full.headers["retry-after"]) >= 1
        late = await quick(first)
        assert (late.status_code, late.json()["error"]) == (503, "busy")
        assert rig.limited() == {"queue_length": 1, "slow_queue_age": 1}
        third = asyncio.create_task(get(rig))
        await rig.worker("f")
        await rig.worker("s", "slow")
        assert (await quick(third)).status_code == 200


async def test_request_timeout() -> None:
    async with Rig(request_timeout=0.2) as rig:
        worker = await rig.worker()
        worker.on_request = worker.hold
        answer = await get(rig)
        assert (answer.status_code, answer.json()["error"]) == (504, "timeout")
        await worker.next(Cancel)


async def test_a_bounced_request_runs_in_the_slow_lane() -> None:
    async with Rig() as rig:
        fast, slow = await rig.worker("f"), await rig.worker("s", "slow")
        fast.on_request = lambda request: fast.send(Bounce(request.stream, "GET /heavy"))
        assert (await get(rig)).status_code == 200
        assert [request.handler for request in slow.seen(Request)] == ["GET /heavy"]


async def test_reload_a_draining_workers_requests_finish_and_new_ones_go_elsewhere() -> None:
    async with Rig() as rig:
        old = await rig.worker("old")
        old.on_request = old.hold
        running = asyncio.create_task(get(rig))
        await old.next(Request)
        new = await rig.worker("new")
        await rig.drained(old)
        assert [(await get(rig)).status_code for _ in range(8)] == [200] * 8
        assert len(new.seen(Request)) == 8
        old.ok(old.seen(Request)[0])
        assert (await quick(running)).status_code == 200


async def test_a_request_that_met_a_worker_on_its_way_out_is_run_by_another() -> None:
    async with Rig() as rig:
        old = await rig.worker("old")

        def leave(request: Request) -> None:
            old.send(Draining())
            old.send(Bounce(request.stream, request.handler))

        old.on_request = leave
        asked = asyncio.create_task(get(rig))
        await old.next(Request)
        new = await rig.worker("new")
        assert (await quick(asked)).status_code == 200
        assert len(new.seen(Request)) == 1


async def test_a_handler_is_learned_fast_and_workers_are_told() -> None:
    async with Rig(lane={}) as rig:
        fast, slow = await rig.worker("f"), await rig.worker("s", "slow")
        for _ in range(8):
            assert (await get(rig)).status_code == 200
        assert (len(slow.seen(Request)), len(fast.seen(Request))) == (5, 3)
        assert fast.known == {"GET /": True}
        fast.on_request = lambda request: fast.respond(request, b"ok", run=1.0)
        await get(rig)
        await until(lambda: fast.known == {"GET /": False}, "it is told that it is slow")


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with Rig() as rig:
        worker = await rig.worker()
        worker.on_request = lambda request: worker.respond(request, request.scope.query)
        wire = b"".join(b"GET /?%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(5))
        answer = await rig.talk(wire + LAST)
        bodies = [part.partition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 ")[1:]]
        assert bodies == [b"0", b"1", b"2", b"3", b"4", b""]


START = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
MALFORMED = {
    "nonsense": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (START + b"Host: b\r\n\r\n", 400),
    "a host that is none": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "length and chunked": (POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde", 400),
    "a signed length": (POST + b"Content-Length: +4\r\n\r\nabcd", 400),
    "space before a colon": (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    "a folded line": (START + b"X: 1\r\n 2\r\n\r\n", 400),
    "a bare CR": (START + b"X: 1\rY: 2\r\n\r\n", 400),
    "a NUL": (START + b"X: \x00\r\n\r\n", 400),
    "another coding": (POST + b"Transfer-Encoding: gzip\r\n\r\n", 400),
    "chunked not last": (POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n", 400),
    "chunked twice": (POST + CHUNKED + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400),
    "a chunk size that is none": (POST + CHUNKED + b"\r\n0x4\r\nabcd\r\n0\r\n\r\n", 400),
    "an endless target": (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "large headers": (START + b"" + b"X: " + b"a" * 70_000 + b"\r\n\r\n", 431),
    "many headers": (START + b"" + b"X: 1\r\n" * 300 + b"\r\n", 431),
    "a head without an end": (START + b"X: " + b"a" * 200_000, 431),
    "connect": (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_requests_are_refused_and_reach_nobody(name: str) -> None:
    wire, status = MALFORMED[name]
    async with Rig() as rig:
        worker = await rig.worker()
        answer = await rig.talk(wire)
        assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
        assert answer.count(b"HTTP/1.1 %d " % status) == 1
        assert worker.seen(Request) == []
        assert (await get(rig)).status_code == 200
        await until(lambda: rig.gateway.app.connections == 0, "no connection is left over")


async def test_a_head_that_never_comes_is_given_up() -> None:
    async with Rig(head_timeout=1) as rig:
        assert (await rig.talk(b"GET / HTTP/1.1\r\nHost")).startswith(b"HTTP/1.1 408 ")
        assert await rig.talk(b"") == b"", "nothing said, nothing answered"


async def test_connections_have_a_bound() -> None:
    async with Rig(max_connections=2) as rig:
        await rig.worker()
        held = [await asyncio.open_connection("127.0.0.1", rig.port) for _ in range(2)]
        await until(lambda: rig.gateway.app.connections == 2, "both are counted")
        answer = await rig.talk(b"")
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"too_many_connections" in answer
        assert rig.limited() == {"max_connections": 1}
        for _, writer in held:
            writer.close()
        await until(lambda: rig.gateway.app.connections == 0, "all are gone")
        assert (await get(rig)).status_code == 200


async def test_health() -> None:
    async with Rig() as rig:
        assert (await get(rig, "/-/live")).status_code == 200
        assert (await get(rig, "/-/ready")).status_code == 503
        fast = await rig.worker("f")
        assert (await get(rig, "/-/ready")).status_code == 503, "the slow lane has no worker"
        await rig.worker("s", "slow")
        assert (await get(rig, "/-/ready")).status_code == 200
        await fast.die()
        assert (await get(rig, "/-/ready")).status_code == 503
        for path in ("/-/", "/-/nothing", "/-/jobs/", "/-/jobs/abc", "/-/jobs/abc?token=x"):
            assert (await get(rig, path)).status_code == 404


async def test_a_stop_finishes_requests_first() -> None:
    async with Rig() as rig:
        worker = await rig.worker()
        worker.on_request = worker.hold
        asked = asyncio.create_task(get(rig))
        request = await worker.next(Request)
        stopping = asyncio.create_task(rig.finish(5))
        await until(lambda: rig.gateway.unready() == "the gateway is about to stop", "it is not ready")
        await asyncio.sleep(0.05)
        worker.respond(request, b"done")
        assert (await quick(asked)).text == "done"
        await quick(stopping)
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", rig.port)


async def test_a_stop_has_a_deadline() -> None:
    async with Rig() as rig:
        worker: FakeWorker = await rig.worker()
        worker.on_request = worker.hold
        asked = asyncio.create_task(get(rig))
        await worker.next(Request)
        await rig.finish(1)
        with pytest.raises(httpx.HTTPError):
            (await quick(asked)).raise_for_status()


async def test_a_slow_handler_whose_clients_do_not_wait_is_found_out_all_the_same() -> None:
    async with Rig(lane={}) as rig:
        fast, _ = await rig.worker("f"), await rig.worker("s", "slow")
        for _ in range(6):
            await get(rig)
        assert rig.gateway.exchange.learner.lane("GET /") == "fast"
        fast.on_request = fast.hold
        _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(GET)
        request = await fast.next(Request, len(fast.seen(Request)) + 1)
        writer.close()
        await fast.next(Cancel)
        fast.respond(request, b"late", run=3.0)
        await until(lambda: rig.gateway.exchange.learner.lane("GET /") == "slow", "it is slow now")


async def test_with_lanes_off_a_worker_is_never_told_that_a_handler_is_slow() -> None:
    async with Rig(lane={}, slow_workers=0) as rig:
        worker = await rig.worker()
        worker.on_request = lambda request: worker.respond(request, b"ok", run=0.001)
        for _ in range(6):
            await get(rig)
        worker.on_request = lambda request: worker.respond(request, b"ok", run=3.0)
        assert [(await get(rig)).status_code for _ in range(3)] == [200] * 3
        assert False not in worker.known.values()
        bounced: list[Request] = []

        def bounce_once(request: Request) -> None:
            if "GET /other" not in worker.known:
                bounced.append(request)
                worker.send(Bounce(request.stream, "GET /other"))
            else:
                worker.ok(request)

        worker.on_request = bounce_once
        assert (await get(rig)).status_code == 200
        assert len(bounced) == 1
        assert (await get(rig, "/-/ready")).status_code == 200


def left() -> list[str]:
    """What is in memory of connections, open ones and such as have ended."""
    return [
        type(one).__name__
        for one in gc.get_objects()
        if issubclass(type(one), HttpProtocol | Wire | ServerProtocol | Connection)
    ]


UPLOAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n"
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
ENDS = {
    "malformed request": b"\x00\x01\r\n\r\n",
    "malformed chunk": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "unmasked frame": HANDSHAKE + b"\x81\x05hello",
    "reserved bits": HANDSHAKE + b"\xf1\x80\0\0\0\0",
    "oversize frame": HANDSHAKE + b"\x81\xff" + (1 << 40).to_bytes(8, "big") + b"mask",
    "cut in the head": GET[:20],
    "cut in the body": UPLOAD + b"u" * 100_000,
    "cut in the answer": UPLOAD + b"u" * 200_000,
}
"""What a client sends before it goes."""


@pytest.mark.parametrize("how", ["request", "closed", "aborted", "refused", *ENDS])
async def test_a_connection_that_has_ended_does_not_wait_for_the_garbage_collector(how: str) -> None:
    async def once(rig: Rig) -> None:
        if how == "request":
            assert (await get(rig)).text == "ok"
        elif how == "refused":
            with pytest.raises(InvalidStatus):
                await connect(f"{rig.ws_url}/-/none")
        elif how in ENDS:
            _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            writer.write(ENDS[how])
            await writer.drain()
            await asyncio.sleep(0.2)  # it is read, and what it asks for has begun
            writer.transport.abort()
        else:
            async with connect(f"{rig.ws_url}/ws") as sock:
                await sock.send("hello")
                assert await sock.recv() == "hello"
                if how == "aborted":
                    sock.transport.abort()

    async with Rig() as rig:
        worker = await rig.worker()
        if how == "cut in the answer":
            worker.on_request = lambda _: None
        await once(rig)
        await until(lambda: not rig.gateway.app.connections, "nobody is connected")
        gc.collect()
        gc.disable()  # the gateway's comes after tens of thousands of objects only
        try:
            for _ in range(10):
                await once(rig)
            await until(lambda: not left(), "connections that have ended are gone")
        finally:
            gc.enable()
