"""TLS and PROXY headers in front of HTTP, against a real gateway."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from headgate.base.errors import ConfigError
from headgate.config.settings import Settings
from headgate.gateway import certificates
from headgate.gateway.door import entry_of
from headgate.link.messages import Open, Request
from tests.process.gateway_rig import Rig, quick, until
from tests.support.certificates import Certificate, certificate
from tests.unit.gateway.test_proxyproto import ADDRESSES, SIX, field, v2

pytestmark = pytest.mark.anyio

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
V1 = b"PROXY TCP4 198.51.100.7 192.0.2.1 4321 443\r\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate(tmp_path_factory.mktemp("tls"))


def tls(one: Certificate, **more: Any) -> dict[str, Any]:
    return {"tls_cert": str(one.cert), "tls_key": str(one.key), **more}


async def talk(rig: Rig, context: ssl.SSLContext, data: bytes, before: bytes = b"") -> bytes:
    """Speak TLS, after some bytes in the clear; returns all that comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    if before:
        writer.write(before)
    await quick(writer.start_tls(context, server_hostname="localhost"))
    writer.write(data)
    try:
        return bytes(await quick(reader.read()))
    finally:
        writer.close()


async def test_http_over_tls(served: Certificate) -> None:
    async with Rig(**tls(served)) as rig:
        worker = await rig.worker()
        for _ in range(3):
            answer = await talk(rig, served.client(), GET + LAST)
            assert answer.count(b"HTTP/1.1 200 ") == 2
        scope = worker.seen(Request)[0].scope
        assert (scope.scheme, scope.client[0]) == ("https", "127.0.0.1")
        await until(lambda: rig.gateway.app.connections == 0, "all are gone")
        assert rig.gateway.report.numbers()["failed_tls_handshakes"] == 0


async def test_a_websocket_and_large_messages_over_tls(served: Certificate) -> None:
    async with Rig(**tls(served), deflate=True) as rig:
        worker = await rig.worker()
        async with connect(f"wss://localhost:{rig.port}/ws", ssl=served.client(), max_size=None) as sock:
            for size in (0, 10, 70_000, 1_000_000):
                await sock.send("x" * size)
                assert len(await quick(sock.recv())) == size
            assert (await worker.next(Open)).scope.scheme == "wss"
        await until(lambda: rig.gateway.app.connections == 0, "it is gone")


async def test_a_refused_request_over_tls_is_answered(served: Certificate) -> None:
    async with Rig(**tls(served), max_body=100, max_message=1000) as rig:
        await rig.worker()
        large = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 300_000
        assert (await talk(rig, served.client(), large)).startswith(b"HTTP/1.1 413 ")
        assert (await talk(rig, served.client(), b"nonsense\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
        async with connect(f"wss://localhost:{rig.port}/ws", ssl=served.client()) as sock:
            await sock.send("x" * 1001)
            await quick(sock.wait_closed())
            assert sock.close_code == 1009


async def test_what_is_no_tls_is_told_so_and_what_is_broken_counted(served: Certificate) -> None:
    async with Rig(**tls(served), head_timeout=1) as rig:
        await rig.worker()
        plain = await rig.talk(GET)
        assert plain.startswith(b"HTTP/1.1 400 ")
        assert b"https://" in plain
        await rig.talk(b"\x16\x03\x01\x00\x05nonsense")
        assert await rig.talk(b"") == b"", "nothing is said: closed in time"
        with pytest.raises(ssl.SSLError):
            await talk(rig, ssl.create_default_context(), GET)
        await until(lambda: rig.gateway.app.connections == 0, "nothing is left of them")
        assert rig.gateway.report.numbers()["failed_tls_handshakes"] >= 3


async def test_connections_are_bounded_before_tls(served: Certificate) -> None:
    async with Rig(**tls(served), max_connections=1) as rig:
        await rig.worker()
        _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        await until(lambda: rig.gateway.app.connections == 1, "it is counted, TLS or not")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await talk(rig, served.client(), GET)
        writer.close()
        await until(lambda: rig.gateway.app.connections == 0, "all are gone")
        assert (await talk(rig, served.client(), LAST)).startswith(b"HTTP/1.1 200 ")


def shown(writer: asyncio.StreamWriter) -> bytes:
    return bytes(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))


@contextlib.asynccontextmanager
async def open_tls(rig: Rig, context: ssl.SSLContext) -> AsyncIterator[tuple[Any, asyncio.StreamWriter]]:
    reader, writer = await quick(
        asyncio.open_connection("127.0.0.1", rig.port, ssl=context, server_hostname="localhost")
    )
    yield reader, writer
    writer.close()


async def test_a_renewed_certificate_is_taken_and_no_connection_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(certificates, "LOOK_EVERY", 0.05)
    old, new = certificate(tmp_path, "old"), certificate(tmp_path, "new")
    both = ssl.create_default_context()
    for one in (old, new):
        both.load_verify_locations(str(one.cert))
    async with Rig(**tls(old)) as rig:
        await rig.worker()
        held = rig.gateway.app.entry.certificates
        assert held is not None
        async with (
            open_tls(rig, both) as (reader, writer),
            connect(f"wss://localhost:{rig.port}/ws", ssl=both, ping_interval=None) as sock,
        ):
            before = shown(writer)
            shutil.copy(old.key, tmp_path / "kept.key")
            old.key.write_text("half a key")  # a renewal that is not done yet
            await until(lambda: "cannot be used" in caplog.text, "it is told")
            async with open_tls(rig, both) as (_, meanwhile):
                assert shown(meanwhile) == before, "the one before it stays"
            old.replace_by(new)
            await until(lambda: held.read_anew >= 1, "it is read anew")
            async with open_tls(rig, both) as (_, fresh):
                assert shown(fresh) != before
            writer.write(GET)
            assert b"200" in await quick(reader.readuntil(b"ok"))
            await sock.send("still here")
            assert await quick(sock.recv()) == "still here"


async def test_clients_can_be_asked_for_a_certificate(served: Certificate, tmp_path: Path) -> None:
    mine = certificate(tmp_path, "client")
    async with Rig(**tls(served, tls_client_ca=str(mine.cert))) as rig:
        worker = await rig.worker()
        with_it = served.client()
        with_it.load_cert_chain(mine.cert, mine.key)
        assert (await talk(rig, with_it, LAST)).startswith(b"HTTP/1.1 200 ")
        answer = b""
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            answer = await talk(rig, served.client(), LAST)
        assert answer == b"", "without it, nothing is answered"
        assert len(worker.seen(Request)) == 1


async def test_a_key_with_a_password_and_a_cipher(tmp_path: Path) -> None:
    one = certificate(tmp_path, password="secret-word")
    async with Rig(**tls(one, tls_key_password="secret-word", tls_ciphers="ECDHE-ECDSA-AES128-GCM-SHA256")) as rig:
        await rig.worker()
        context = one.client()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        async with open_tls(rig, context) as (_, writer):
            assert writer.get_extra_info("cipher")[0] == "ECDHE-ECDSA-AES128-GCM-SHA256"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"tls_key": "other"}, "mismatch"),
        ({"tls_key": "missing.key"}, "missing.key"),
        ({"tls_cert": "missing.pem"}, "missing.pem"),
        ({"tls_cert": ""}, "tls_cert"),
        ({"tls_key": "locked"}, "tls_key_password"),
        ({"tls_ciphers": "ROT13"}, "ROT13"),
        ({"tls_client_ca": "missing.pem"}, "tls_client_ca"),
    ],
)
def test_what_is_wrong_with_the_files_is_told_at_the_start(
    served: Certificate, tmp_path: Path, change: dict[str, str], word: str
) -> None:
    made = {"other": certificate(tmp_path, "other").key, "locked": certificate(tmp_path, "locked", "word").key}
    settings = {**tls(served), **{key: str(made.get(value, value)) for key, value in change.items()}}
    with pytest.raises(ConfigError, match=word):
        entry_of(Settings(**settings))


# PROXY headers


async def ask(rig: Rig, data: bytes) -> bytes:
    answer = await rig.talk(data)
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    return answer


@pytest.mark.parametrize(
    ("header", "client", "server"),
    [
        (V1, ("198.51.100.7", 4321), ("192.0.2.1", 443)),
        (v2(ADDRESSES), ("198.51.100.7", 4321), ("192.0.2.1", 443)),
        (v2(SIX, family=0x21), ("2001:db8::1", 1), ("2001:db8::2", 2)),
        (v2(b"", command=0x20, family=0), ("127.0.0.1", None), None),
        (b"PROXY UNKNOWN\r\n", ("127.0.0.1", None), None),
    ],
)
async def test_a_trusted_proxy_tells_the_client(header: bytes, client: Any, server: Any) -> None:
    async with Rig(proxy_protocol=True) as rig:
        worker = await rig.worker()
        await ask(rig, header + LAST)
        scope = worker.seen(Request)[0].scope
        assert scope.client[0] == client[0]
        assert client[1] in (None, scope.client[1])
        assert server is None or scope.server == server


async def test_it_may_come_in_pieces_and_tells_of_tls() -> None:
    async with Rig(proxy_protocol=True) as rig:
        worker = await rig.worker()
        _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        for byte in v2(ADDRESSES + field(0x20, b"\x01" + bytes(4))) + GET:
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert (await worker.next(Request)).scope.scheme == "https"
        writer.close()


async def test_the_client_is_not_the_proxy_whose_word_counts() -> None:
    async with Rig(proxy_protocol=True) as rig:
        worker = await rig.worker()
        forged = LAST.replace(b"Host", b"X-Forwarded-For: 203.0.113.9\r\nHost")
        await ask(rig, V1 + forged)
        await ask(rig, V1.replace(b"198.51.100.7", b"127.0.0.1") + forged)  # the nginx before it is trusted, too
        told = [request.scope.client[0] for request in worker.seen(Request)]
        assert told == ["198.51.100.7", "203.0.113.9"]


@pytest.mark.parametrize("wire", [GET, b"PROXY nonsense\r\n" + GET, v2(ADDRESSES, family=0x12) + GET, b"\x16\x03\x01"])
async def test_without_a_good_header_a_proxys_connection_is_refused(
    wire: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "headgate.gateway")
    async with Rig(proxy_protocol=True) as rig:
        worker = await rig.worker()
        answer = await rig.talk(wire)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"no_proxy_header" in answer
        assert worker.seen(Request) == []
        assert "proxy_protocol" in caplog.text
        assert rig.gateway.report.numbers()["bad_proxy_headers"] == 1
        await until(lambda: rig.gateway.app.connections == 0, "nothing is left of it")


async def test_a_header_that_does_not_come_is_not_waited_for() -> None:
    async with Rig(proxy_protocol=True, head_timeout=1) as rig:
        assert b"200" not in await rig.talk(V1[:10])
        assert await rig.talk(b"") in (b"", b"reset")
        assert rig.gateway.app.entry.bad_headers == 2


async def test_only_trusted_proxies_may_send_one() -> None:
    async with Rig(proxy_protocol=True, trusted_proxies=("192.0.2.0/24",)) as rig:
        worker = await rig.worker()
        await ask(rig, LAST)
        assert worker.seen(Request)[0].scope.client[0] == "127.0.0.1"
        assert (await rig.talk(V1 + LAST)).startswith(b"HTTP/1.1 400 ")
    async with Rig() as rig:
        assert (await rig.talk(V1 + LAST)).startswith(b"HTTP/1.1 400 "), "off unless asked"


async def test_a_proxy_header_before_tls(served: Certificate) -> None:
    async with Rig(**tls(served), proxy_protocol=True) as rig:
        worker = await rig.worker()
        assert (await talk(rig, served.client(), LAST, before=V1)).startswith(b"HTTP/1.1 200 ")
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        hello, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = served.client().wrap_bio(hello, out, server_hostname="localhost")
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        writer.write(v2(ADDRESSES) + out.read())  # both in one segment
        while True:
            hello.write(await quick(reader.read(65_536)))
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(out.read())
        client.write(GET)
        writer.write(out.read())
        request = await worker.next(Request, 2)
        assert (request.scope.client[0], request.scope.scheme) == ("198.51.100.7", "https")
        writer.close()


async def test_a_refused_connection_of_a_proxy_still_gets_its_page() -> None:
    async with Rig(proxy_protocol=True, max_connections=1) as rig:
        await rig.worker()
        _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(V1)
        await until(lambda: rig.gateway.app.connections == 1, "it is counted once its header is there")
        assert (await rig.talk(V1 + LAST)).startswith(b"HTTP/1.1 503 ")
        writer.close()
