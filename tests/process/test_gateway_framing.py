"""Requests that two servers in a row could read differently, against a real gateway: none of them reaches an app."""

from __future__ import annotations

import asyncio
import re

import pytest

from headgate.link.messages import Chunk, Head, Request
from tests.process.gateway_rig import FakeWorker, Rig, quick, until

pytestmark = pytest.mark.anyio

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: a\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

REFUSED = {
    # the length said twice, or in two ways
    "CL and TE": POST + b"Content-Length: 4\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "TE and CL": POST + CHUNKED + b"Content-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "the same length twice": POST + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
    "lengths in a list": POST + b"Content-Length: 4, 5\r\n\r\nabcde",
    "the same length in a list": POST + b"Content-Length: 4, 4\r\n\r\nabcd",
    # lengths that are none
    "a signed length": POST + b"Content-Length: +4\r\n\r\nabcd",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n",
    "a hexadecimal length": POST + b"Content-Length: 0x4\r\n\r\nabcd",
    "a length with a space": POST + b"Content-Length: 1 0\r\n\r\n" + b"a" * 10,
    "a length with an underscore": POST + b"Content-Length: 1_0\r\n\r\n" + b"a" * 10,
    "an empty length": POST + b"Content-Length: \r\n\r\n",
    "a length over 64 bits": POST + b"Content-Length: 18446744073709551620\r\n\r\nabcd",
    # transfer codings
    "gzip": POST + b"Transfer-Encoding: gzip\r\n\r\n",
    "chunked not last": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n",
    "chunked and identity": POST + CHUNKED + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "chunked in quotes": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "xchunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked with a vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked with a parameter": POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
    "chunked on a folded line": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a coding in HTTP/1.0": b"POST /echo HTTP/1.0\r\nHost: a\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    # names and lines
    "a space before the colon": POST + b"Content-Length : 4\r\n\r\nabcd",
    "a tab before the colon": POST + b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "a space before a name": POST + b" Content-Length: 4\r\n\r\nabcd",
    "a name with a NUL": POST + b"Content\x00Length: 4\r\n\r\n",
    "no name": POST + b": 4\r\n\r\n",
    "no colon": POST + b"Content-Length 4\r\n\r\n",
    "a folded value": GET + b"X: 1\r\n 2\r\n\r\n",
    "a bare CR in a value": GET + b"X: 1\rContent-Length: 4\r\n\r\n",
    "a bare CR as a line's end": GET + b"X: 1\r\rY: 2\r\n\r\n",
    "a NUL in a value": GET + b"X: \x00\r\n\r\n",
    "a bare LF behind the request line": b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    "a bare LF behind a header": b"GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n",
    "a bare LF at the end": b"GET / HTTP/1.1\r\nHost: a\r\n\n",
    # the request line
    "a tab": b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "no version": b"GET /\r\nHost: a\r\n\r\n",
    "another version": b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    "a method of another case": b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
    "bytes over 127 in the target": b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    "a fragment": b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
    "another authority": b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "an asterisk": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    # chunks
    "a chunk size that is none": POST + CHUNKED + b"\r\nzz\r\nab\r\n0\r\n\r\n",
    "a chunk size with 0x": POST + CHUNKED + b"\r\n0x4\r\nabcd\r\n0\r\n\r\n",
    "a chunk size with a space before": POST + CHUNKED + b"\r\n 4\r\nabcd\r\n0\r\n\r\n",
    "a negative chunk size": POST + CHUNKED + b"\r\n-1\r\n\r\n",
    "a chunk size over 64 bits": POST + CHUNKED + b"\r\n10000000000000004\r\nabcd\r\n0\r\n\r\n",
    "a chunk longer than its size": POST + CHUNKED + b"\r\n2\r\nabcd\r\n0\r\n\r\n",
    "a bare LF behind a chunk size": POST + CHUNKED + b"\r\n4\nabcd\r\n0\r\n\r\n",
    "a bare LF behind a chunk": POST + CHUNKED + b"\r\n4\r\nabcd\n0\r\n\r\n",
    "a bare CR in an extension": POST + CHUNKED + b"\r\n4;a\rb\r\nabcd\r\n0\r\n\r\n",
    "an endless extension": POST + CHUNKED + b"\r\n4;" + b"a" * 400_000,
    "a malformed trailer": POST + CHUNKED + b"\r\n4\r\nabcd\r\n0\r\nX : 1\r\n\r\n",
    "a length in a trailer": POST + CHUNKED + b"\r\n4\r\nabcd\r\n0\r\nContent-Length: 9\r\n\r\n",
    "endless trailers": POST + CHUNKED + b"\r\n0\r\n" + b"X: " + b"a" * 70_000 + b"\r\n\r\n",
    # handshakes
    "a handshake with a body": GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\n\r\nabcd",
    "a handshake with chunks": GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
}


def statuses(answer: bytes) -> list[bytes]:
    return re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", answer)


async def slowly(rig: Rig, data: bytes) -> bytes:
    """Send in pieces, so that the parser meets it in several calls; returns all that comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    try:
        for at in range(0, len(data), max(1, len(data) // 20)):
            writer.write(data[at : at + max(1, len(data) // 20)])
            await writer.drain()
            await asyncio.sleep(0)
        return bytes(await quick(reader.read()))
    except ConnectionError:
        return b"reset"
    finally:
        writer.close()


async def test_what_could_smuggle_a_request_is_refused_and_reaches_nobody() -> None:
    async with Rig() as rig:
        worker = await rig.worker()
        for name, wire in REFUSED.items():
            try:
                answers = (await rig.talk(wire + SMUGGLED), await slowly(rig, wire + SMUGGLED))
            except TimeoutError:
                pytest.fail(f"{name}: neither answered nor refused")
            for answer in answers:
                assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 505 ", b"HTTP/1.1 431 ")), (name, answer[:300])
                assert len(statuses(answer)) == 1, (name, "nothing after a refusal is answered")
                assert b"connection: close\r\n" in answer, name
        assert worker.seen(Request) == []
        await until(lambda: rig.gateway.app.connections == 0, "no connection is left over")


async def bodies(worker: FakeWorker) -> list[bytes]:
    return [request.body for request in worker.seen(Request)]


async def test_a_second_request_behind_each_kind_of_body_is_found() -> None:
    async with Rig() as rig:
        worker = await rig.worker()
        last = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        wire = (
            POST + b"Content-Length: 4\r\n\r\nabcd" + POST + CHUNKED + b"\r\n2\r\nef\r\n1;x=y\r\ng\r\n0\r\nT: 1\r\n\r\n"
        )
        for answer in (await rig.talk(wire + last), await slowly(rig, wire + last)):
            assert answer.count(b"HTTP/1.1 200 ") == 3
        assert await bodies(worker) == [b"abcd", b"efg", b""] * 2


async def test_trailers_are_dropped() -> None:
    async with Rig() as rig:
        worker = await rig.worker()
        trailers = b"X-Forwarded-For: 203.0.113.9\r\nX-Evil: 1\r\nHost: evil\r\n"
        wire = POST + CHUNKED + b"Trailer: X-Evil\r\nConnection: close\r\n\r\n4\r\nabcd\r\n0\r\n" + trailers + b"\r\n"
        for answer in (await rig.talk(wire), await slowly(rig, wire)):
            assert answer.startswith(b"HTTP/1.1 200 ")
        for request in worker.seen(Request):
            assert request.body == b"abcd"
            assert request.scope.headers == [(b"host", b"a")]
            assert request.scope.client[0] == "127.0.0.1"


async def test_a_whole_url_means_the_same_as_its_path() -> None:
    async with Rig() as rig:
        worker = await rig.worker()
        for target, path, query in ((b"http://a/b?c=d", "/b", b"c=d"), (b"http://A:80", "/", b"")):
            wire = b"GET " + target + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            worker.got.clear()
            if path == "/b":
                slow = await rig.worker("s", "slow")
                assert (await rig.talk(wire)).startswith(b"HTTP/1.1 200 ")
                [request] = slow.seen(Request)
            else:
                assert (await rig.talk(wire)).startswith(b"HTTP/1.1 200 ")
                [request] = worker.seen(Request)
            assert (request.scope.path, request.scope.query) == (path, query)


async def test_a_broken_request_behind_others_is_answered_behind_them() -> None:
    async with Rig() as rig:
        worker = await rig.worker()
        worker.on_request = worker.hold
        broken = (b"nonsense\r\n\r\n", POST + CHUNKED + b"\r\nzz\r\n", GET + b"X: " + b"a" * 70_000 + b"\r\n\r\n")
        for number, wire in enumerate(broken):
            for queued in (b"", b"GET /?second HTTP/1.1\r\nHost: a\r\n\r\n"):
                worker.got.clear()
                talking = asyncio.create_task(rig.talk(GET + b"\r\n" + queued + wire + SMUGGLED))
                worker.respond(await worker.next(Request), b"first")
                if queued:
                    worker.respond(await worker.next(Request, 2), b"second")
                answer = await quick(talking)
                wanted = [b"200", b"200"] if queued else [b"200"]
                assert statuses(answer) == [*wanted, b"431" if number == 2 else b"400"], answer
                assert len(worker.seen(Request)) == len(wanted)


async def test_an_upgrade_to_something_else_is_ignored_and_loses_nothing() -> None:
    async with Rig() as rig:
        worker = await rig.worker()
        h2c = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
        last = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        length = POST + h2c + b"Content-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED
        chunks = POST + h2c + CHUNKED + b"\r\n4\r\nabcd\r\n0\r\n\r\n"
        wire = GET + h2c + b"\r\n" + length + chunks + last
        for answer in (await rig.talk(wire), await slowly(rig, wire)):
            assert statuses(answer) == [b"200"] * 4
        assert await bodies(worker) == [b"", SMUGGLED, b"abcd", b""] * 2


async def test_http2_is_told_that_it_is_not_spoken() -> None:
    async with Rig() as rig:
        assert (await rig.talk(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
        assert (await rig.talk(b"GET / HTTP/2.0\r\nHost: a\r\n\r\n")).startswith(b"HTTP/1.1 505 ")


async def test_a_body_that_nobody_reads_is_bounded_and_the_next_request_found() -> None:
    async with Rig(head_timeout=1, keepalive_timeout=1) as rig:
        small = b"GET /-/live HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
        last = b"GET /-/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        assert (await rig.talk(small + small + last)).count(b"HTTP/1.1 200 ") == 3
        large = b"GET /-/live HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(large)
        assert (await quick(reader.readuntil(b"\r\n\r\n"))).startswith(b"HTTP/1.1 200 ")

        async def flood() -> None:
            while True:
                writer.write(b"x" * 65_536)
                await writer.drain()
                await asyncio.sleep(0.001)

        with pytest.raises(ConnectionError):
            await quick(flood())
        writer.close()
        assert (await rig.talk(large + b"x")).count(b"HTTP/1.1 ") == 1, "the rest does not come: closed, not answered"


async def test_line_ends_between_requests_do_not_hold_a_connection() -> None:
    async with Rig(head_timeout=1) as rig:
        await rig.worker()
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(GET + b"\r\n")
        await quick(reader.readuntil(b"ok"))
        writer.write(b"\r\n")
        assert b"200" not in await quick(reader.read())
        writer.close()
        await until(lambda: rig.gateway.app.connections == 0, "it is closed")


async def test_an_idle_connection_is_closed() -> None:
    async with Rig(keepalive_timeout=1) as rig:
        await rig.worker()
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(GET + b"\r\n")
        await quick(reader.readuntil(b"ok"))
        assert await quick(reader.read()) == b""
        writer.close()


async def test_the_bounds_of_a_head_are_settings() -> None:
    async with Rig(max_target=300, max_head=2000, max_headers=10) as rig:
        worker = await rig.worker()
        for wire, status in (
            (b"GET /?" + b"a" * 298 + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"200"),
            (b"GET /?" + b"a" * 299 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"414"),
            (GET + b"X: " + b"a" * 1900 + b"\r\nConnection: close\r\n\r\n", b"200"),
            (GET + b"X: " + b"a" * 2000 + b"\r\n\r\n", b"431"),
            (GET + b"Connection: close\r\n" + b"X: 1\r\n" * 8 + b"\r\n", b"200"),
            (GET + b"X: 1\r\n" * 10 + b"\r\n", b"431"),
        ):
            assert (await rig.talk(wire))[9:12] == status
        assert len(worker.seen(Request)) == 3
        limited = rig.gateway.report.limited()
        assert [limited[bound] for bound in ("max_target", "max_head", "max_headers")] == [1, 1, 1]


async def test_a_large_body_before_a_partial_head_is_no_large_head() -> None:
    async with Rig() as rig:
        worker = await rig.worker()
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(POST + b"Content-Length: 200000\r\n\r\n" + b"x" * 200_000 + b"GET / HT")
        await worker.next(Request)
        writer.write(b"TP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert (await quick(reader.read())).count(b"HTTP/1.1 200 ") == 2
        writer.close()


# what goes out


async def test_an_apps_own_date_and_server_are_the_only_ones() -> None:
    async with Rig() as rig:
        worker = await rig.worker()
        own = [(b"date", b"Sun, 06 Nov 1994 08:49:37 GMT"), (b"server", b"mine/1")]
        worker.on_request = lambda request: worker.send(Head(request.stream, 200, own, b"ok", False, "GET /", 0.001))
        answer = (await rig.talk(GET + b"Connection: close\r\n\r\n")).lower()
        assert answer.count(b"\r\ndate: ") == answer.count(b"\r\nserver: ") == 1
        assert b"1994" in answer
        worker.on_request = worker.ok
        answer = (await rig.talk(GET + b"Connection: close\r\n\r\n")).lower()
        assert answer.count(b"\r\ndate: ") == 1
        assert b"\r\nserver: " not in answer
        assert (await rig.talk(b"nonsense\r\n\r\n")).lower().count(b"\r\ndate: ") == 1


async def test_ranges_pass_through_both_ways() -> None:
    async with Rig() as rig:
        worker = await rig.worker()
        told = [(b"content-range", b"bytes 2-4/10"), (b"accept-ranges", b"bytes")]
        worker.on_request = lambda request: worker.send(Head(request.stream, 206, told, b"cde", False, "GET /", 0.001))
        answer = await rig.talk(GET + b"Range: bytes=2-4\r\nIf-Range: x\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 206 ")
        assert b"content-range: bytes 2-4/10\r\n" in answer
        assert answer.endswith(b"\r\n\r\ncde")
        assert {(b"range", b"bytes=2-4"), (b"if-range", b"x")} <= set(worker.seen(Request)[0].scope.headers)


async def test_a_response_of_unknown_length_is_chunked_and_for_http_1_0_ends_with_the_connection() -> None:
    async with Rig() as rig:
        worker = await rig.worker()

        def stream(request: Request) -> None:
            worker.send(Head(request.stream, 200, [(b"trailer", b"x")], b"ab", True, "GET /"))
            worker.send(Chunk(request.stream, b"cd", True))
            worker.send(Chunk(request.stream, b"", False, 0.001))

        worker.on_request = stream
        answer = await rig.talk(GET + b"Connection: close\r\n\r\n")
        assert b"transfer-encoding: chunked\r\n" in answer
        assert b"trailer" not in answer
        assert answer.endswith(b"\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n")
        old = await rig.talk(b"GET / HTTP/1.0\r\n\r\n")
        assert b"transfer-encoding" not in old
        assert old.endswith(b"\r\n\r\nabcd")
        head = await rig.talk(b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert head.endswith(b"\r\n\r\n")
