"""A WSGI app behind a link: PEP 3333 from both sides."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper as PlainWrapper
from wsgiref.validate import validator

import pytest

from headgate.link.messages import WINDOW, Chunk, Credit, Fail, Head
from tests.unit.apps.gateway import PATIENCE, Hosted, eventually, hosted, scope

Environ = dict[str, Any]
Start = Callable[..., Callable[[bytes], object]]
Host = Callable[..., Hosted]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """Hosts an app for the test."""
    opened: list[Any] = []

    def begin(app: Any, **plan: Any) -> Hosted:
        manager = hosted(app, tmp_path, **plan)
        opened.append(manager)
        return manager.__enter__()

    yield begin
    for manager in opened:
        manager.__exit__(None, None, None)


def hello(environ: Environ, start: Start) -> list[bytes]:
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


def test_a_response_is_one_frame_with_its_run_time(host: Host) -> None:
    gateway = host(validator(hello)).gateway
    stream = gateway.request(scope())
    head = gateway.expect(Head)
    assert head.stream == stream
    assert (head.status, head.body, head.more) == (200, b"hello", False)
    assert head.headers == [(b"content-type", b"text/plain"), (b"content-length", b"5")]
    assert head.handler == "GET *"
    assert 0 < head.run < PATIENCE


def test_environ_is_what_cgi_and_pep_3333_say(host: Host) -> None:
    seen: Environ = {}

    def app(environ: Environ, start: Start) -> list[bytes]:
        seen.update(environ)
        start("204 No Content", [])
        return []

    headers = [
        (b"content-type", b"text/csv"),
        (b"content-length", b"3"),
        (b"x-many", b"1"),
        (b"x-many", b"2"),
        (b"cookie", b"a=1"),
        (b"cookie", b"b=2"),
        (b"x_forwarded_for", b"6.6.6.6"),
        (b"x-name", "Zoë".encode("latin-1")),
    ]
    gateway = host(app).gateway
    gateway.request(
        scope(
            "POST",
            "/shop/café/x",
            b"q=1%202",
            headers=headers,
            raw_path=b"/shop/caf%C3%A9/x",
            root_path="/shop",
            scheme="https",
        ),
        b"abc",
    )
    gateway.answer()
    wanted = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "/shop",
        "PATH_INFO": "/café/x".encode().decode("latin-1"),
        "QUERY_STRING": "q=1%202",
        "REQUEST_URI": "/shop/caf%C3%A9/x?q=1%202",
        "CONTENT_TYPE": "text/csv",
        "CONTENT_LENGTH": "3",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "desk.example",
        "HTTP_X_MANY": "1,2",
        "HTTP_COOKIE": "a=1; b=2",
        "HTTP_X_NAME": "Zoë",
        "wsgi.url_scheme": "https",
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.version": (1, 0),
    }
    assert {key: seen.get(key) for key in wanted} == wanted
    assert not [key for key in seen if "FORWARDED" in key]


def test_a_client_without_address_and_a_body_without_length(host: Host) -> None:
    seen: Environ = {}

    def app(environ: Environ, start: Start) -> list[bytes]:
        seen.update(environ, body=environ["wsgi.input"].read())
        start("200 OK", [])
        return []

    gateway = host(app).gateway
    headers = [(b"transfer-encoding", b"chunked")]
    gateway.request(scope("POST", "/", headers=headers, client=None, server=("/run/g.sock", None)), b"abcd")
    gateway.answer()
    assert seen["REMOTE_ADDR"] == ""
    assert seen["SERVER_NAME"] == "localhost"
    assert seen["CONTENT_LENGTH"] == "4"
    assert seen["body"] == b"abcd"
    assert "HTTP_TRANSFER_ENCODING" not in seen


@pytest.mark.parametrize("spooled", [False, True])
def test_input_reads_as_a_file_does(host: Host, tmp_path: Path, spooled: bool) -> None:
    body = b"one\ntwo\nthree"
    seen: list[Any] = []

    def app(environ: Environ, start: Start) -> list[bytes]:
        given = environ["wsgi.input"]
        seen.extend([given.read(2), given.readline(), given.readlines(1), list(given), given.read()])
        seen.append(given)
        start("200 OK", [("Content-Type", "text/plain")])
        return [b"x"]

    gateway = host(app).gateway
    sent = scope("POST", "/", headers=[(b"content-length", b"13")])
    if spooled:
        spool = tmp_path / "body"
        spool.write_bytes(body)
        gateway.request(sent, body_path=str(spool))
    else:
        gateway.request(sent, body)
    gateway.answer()
    assert seen[:5] == [b"on", b"e\n", [b"two\n"], [b"three"], b""]
    assert eventually(lambda: seen[5].closed) if spooled else not seen[5].closed


def test_one_block_without_a_length_gets_one(host: Host) -> None:
    def app(environ: Environ, start: Start) -> list[bytes]:
        start("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]

    status, headers, body = host(app).gateway.get("/")
    assert (status, headers[b"content-length"], body) == (200, b"5", b"hello")


def test_a_generator_streams_each_block_at_once_and_is_closed(host: Host) -> None:
    go_on, closed = threading.Event(), threading.Event()

    class Blocks:
        def __iter__(self) -> Iterator[bytes]:
            yield b""
            yield b"first"
            assert go_on.wait(PATIENCE)
            yield b"second"

        def close(self) -> None:
            closed.set()

    def app(environ: Environ, start: Start) -> Blocks:
        start("200 OK", [("Content-Type", "text/plain")])
        return Blocks()

    gateway = host(app).gateway
    gateway.request(scope())
    head = gateway.expect(Head)
    assert (head.body, head.more) == (b"first", True)
    go_on.set()
    assert gateway.expect(Chunk).body == b"second"
    last = gateway.expect(Chunk)
    assert (last.body, last.more) == (b"", False)
    assert last.run > 0
    assert closed.wait(PATIENCE)


def test_write_and_iterable_together(host: Host) -> None:
    def app(environ: Environ, start: Start) -> list[bytes]:
        write = start("200 OK", [("Content-Type", "text/plain")])
        write(b"written ")
        return [b"returned"]

    assert host(validator(app)).gateway.get("/")[2] == b"written returned"


def test_start_response_may_be_called_by_the_generator(host: Host) -> None:
    def app(environ: Environ, start: Start) -> Iterator[bytes]:
        start("200 OK", [("Content-Type", "text/plain")])
        yield b"late"

    assert host(validator(app)).gateway.get("/")[2] == b"late"


def test_a_slow_client_holds_the_app_back_at_the_window(host: Host) -> None:
    produced: list[int] = []

    def app(environ: Environ, start: Start) -> Iterator[bytes]:
        start("200 OK", [("Content-Type", "text/plain")])
        for number in range(64):
            produced.append(number)
            yield b"x" * 16384

    gateway = host(app).gateway
    stream = gateway.request(scope())
    got = len(gateway.expect(Head).body)
    while not gateway.quiet():
        got += len(gateway.expect(Chunk).body)
    assert got <= WINDOW
    assert len(produced) * 16384 <= WINDOW + 16384
    while got < 64 * 16384:
        gateway.send(Credit(stream, 16384))
        got += len(gateway.expect(Chunk).body)
    assert gateway.expect(Chunk).more is False


def test_a_large_body_travels_in_pieces(host: Host) -> None:
    big = bytes(range(256)) * 4096

    def app(environ: Environ, start: Start) -> list[bytes]:
        start("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(big)))])
        return [big]

    gateway = host(app).gateway
    gateway.request(scope())
    head, body = gateway.answer()
    assert len(head.body) == 65536
    assert body == big


def test_file_wrapper_reads_large_blocks_and_closes(host: Host) -> None:
    files: list[io.BytesIO] = []

    def app(environ: Environ, start: Start) -> Any:
        files.append(io.BytesIO(b"z" * 200_000))
        start("200 OK", [("Content-Type", "application/octet-stream")])
        assert environ["wsgi.file_wrapper"] is not PlainWrapper
        return environ["wsgi.file_wrapper"](files[0], 8192)

    gateway = host(app).gateway
    gateway.request(scope())
    head, body = gateway.answer()
    assert body == b"z" * 200_000
    assert len(head.body) == 65536
    assert eventually(lambda: files[0].closed)


@pytest.mark.parametrize("length", [None, "5"])
def test_head_gets_the_head_only(host: Host, length: str | None) -> None:
    pulled: list[int] = []

    def app(environ: Environ, start: Start) -> Iterator[bytes]:
        start("200 OK", [("Content-Length", length)] if length else [])
        for number in range(3):
            pulled.append(number)
            yield b"hello"

    gateway = host(app).gateway
    gateway.request(scope("HEAD"))
    head = gateway.expect(Head)
    assert (head.body, head.more) == (b"", False)
    assert dict(head.headers).get(b"content-length") == (length.encode() if length else None)
    assert pulled == [0]


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_a_status_without_a_body_gets_none(host: Host, status: str) -> None:
    def app(environ: Environ, start: Start) -> list[bytes]:
        start(status, [])
        return [b"surplus"]

    _, headers, body = host(app).gateway.get("/")
    assert body == b""
    assert b"content-length" not in headers


def bad_apps() -> dict[str, tuple[Any, str]]:
    def silent(environ: Environ, start: Start) -> list[bytes]:
        return []

    def early(environ: Environ, start: Start) -> list[bytes]:
        return [b"no start_response"]

    def text(environ: Environ, start: Start) -> list[Any]:
        start("200 OK", [])
        return ["text"]

    def twice(environ: Environ, start: Start) -> list[bytes]:
        start("200 OK", [])
        start("200 OK", [])
        return []

    def status(environ: Environ, start: Start) -> list[bytes]:
        start("OK", [])
        return []

    def split(environ: Environ, start: Start) -> list[bytes]:
        start("200 OK", [("X-Name", "a\r\nSet-Cookie: b")])
        return []

    def name(environ: Environ, start: Start) -> list[bytes]:
        start("200 OK", [("X Name", "a")])
        return []

    def exits(environ: Environ, start: Start) -> list[bytes]:
        raise SystemExit(3)

    def breaks(environ: Environ, start: Start) -> list[bytes]:
        raise KeyError("the price")

    def short(environ: Environ, start: Start) -> list[bytes]:
        start("200 OK", [("Content-Length", "10")])
        return []

    return {
        "silent": (silent, "without calling start_response"),
        "early": (early, "before start_response"),
        "text": (text, "must consist of bytes, not str"),
        "twice": (twice, "a second time"),
        "status": (status, "'OK' is no status"),
        "split": (split, "line break"),
        "name": (name, "not allowed in one"),
        "exits": (exits, "SystemExit"),
        "breaks": (breaks, "the price"),
        "short": (short, "10 bytes before its Content-Length"),
    }


@pytest.mark.parametrize("which", sorted(bad_apps()))
def test_an_app_that_breaks_before_its_head_fails_with_an_id(
    host: Host, caplog: pytest.LogCaptureFixture, which: str
) -> None:
    app, reason = bad_apps()[which]
    gateway = host(app).gateway
    gateway.request(scope())
    fail = gateway.expect(Fail)
    assert len(fail.error_id) == 16
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert fail.error_id in record.getMessage()
    assert record.exc_info
    assert reason in f"{record.exc_info[0].__name__ if record.exc_info[0] else ''} {record.exc_info[1]}"
    gateway.request(scope())  # the thread lives on
    gateway.expect(Fail)


def test_an_app_that_breaks_after_its_head_cuts_the_response(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: Environ, start: Start) -> Iterator[bytes]:
        start("200 OK", [])
        yield b"begun"
        raise RuntimeError("out of paper")

    gateway = host(app).gateway
    gateway.request(scope())
    assert gateway.expect(Head).more is True
    assert gateway.expect(Fail).error_id in caplog.text
    assert "out of paper" in caplog.text


def test_exc_info_replaces_a_head_that_is_not_sent(host: Host) -> None:
    def app(environ: Environ, start: Start) -> list[bytes]:
        import sys

        start("200 OK", [("Content-Length", "5")])
        try:
            raise ValueError("changed my mind")
        except ValueError:
            start("500 Oh", [("Content-Type", "text/plain")], sys.exc_info())
        return [b"sorry"]

    status, headers, body = host(app).gateway.get("/")
    assert (status, headers[b"content-length"], body) == (500, b"5", b"sorry")


def test_exc_info_after_the_head_raises_it(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: Environ, start: Start) -> Iterator[bytes]:
        import sys

        start("200 OK", [])
        yield b"begun"
        try:
            raise ValueError("too late")
        except ValueError:
            start("500 Oh", [], sys.exc_info())

    gateway = host(app).gateway
    gateway.request(scope())
    gateway.expect(Head)
    gateway.expect(Fail)
    assert "too late" in caplog.text


def test_surplus_beyond_the_length_is_dropped_and_logged(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: Environ, start: Start) -> list[bytes]:
        start("200 OK", [("Content-Length", "5")])
        return [b"hello world", b"!"]

    assert host(app).gateway.get("/")[2] == b"hello"
    assert "more than its Content-Length" in caplog.text


def test_hop_by_hop_headers_stay_with_the_gateway(host: Host) -> None:
    def app(environ: Environ, start: Start) -> list[bytes]:
        start("200 OK", [("Connection", "close"), ("Transfer-Encoding", "chunked"), ("X-Kept", "1")])
        return [b""]

    _, headers, _ = host(app).gateway.get("/")
    assert headers == {b"x-kept": b"1", b"content-length": b"0"}


def test_a_cancelled_response_stops_the_app_and_closes_its_generator(host: Host) -> None:
    ended = threading.Event()

    def app(environ: Environ, start: Start) -> Iterator[bytes]:
        start("200 OK", [])
        try:
            while True:
                yield b"x" * 65536
        finally:
            ended.set()

    gateway = host(app).gateway
    stream = gateway.request(scope())
    gateway.expect(Head)
    gateway.cancel(stream)
    assert gateway.next(Fail).error_id == ""
    assert ended.wait(PATIENCE)


def test_a_lost_link_frees_a_waiting_writer(host: Host) -> None:
    ended = threading.Event()

    def app(environ: Environ, start: Start) -> Iterator[bytes]:
        start("200 OK", [])
        try:
            while True:
                yield b"x" * 65536
        finally:
            ended.set()

    gateway = host(app).gateway
    gateway.request(scope())
    gateway.expect(Head)
    gateway.close()
    assert ended.wait(PATIENCE)


def test_what_close_does_afterwards_counts_without_holding_up_the_client(host: Host) -> None:
    release = threading.Event()

    class Body(list[bytes]):
        def close(self) -> None:
            assert release.wait(PATIENCE)
            threading.Event().wait(0.01)

    def app(environ: Environ, start: Start) -> Body:
        start("200 OK", [("Content-Length", "2")])
        return Body([b"ok"])

    gateway = host(app).gateway
    gateway.request(scope())
    assert gateway.expect(Head).more is False
    release.set()
    timed = gateway.receive()
    assert (timed.handler, timed.run > 0.005) == ("GET *", True)
