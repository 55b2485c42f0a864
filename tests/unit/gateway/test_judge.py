"""What is refused of a request's head, and what not."""

from __future__ import annotations

import pytest

from headgate.gateway.judge import has_body, origin_form, refusal, without_upgrade

HOST = [(b"host", b"shop.example")]
CHUNKED = (b"transfer-encoding", b"chunked")

REFUSED = {
    "HTTP/2.0": ((b"GET", b"/", "2.0", HOST), 505),
    "HTTP/0.9": ((b"GET", b"/", "0.9", []), 505),
    "CONNECT": ((b"CONNECT", b"shop.example:443", "1.1", HOST), 405),
    "no Host": ((b"GET", b"/", "1.1", []), 400),
    "two Hosts": ((b"GET", b"/", "1.1", HOST * 2), 400),
    "a Host with a path": ((b"GET", b"/", "1.1", [(b"host", b"a/b")]), 400),
    "a Host with a space": ((b"GET", b"/", "1.1", [(b"host", b"a b")]), 400),
    "a Host with a user": ((b"GET", b"/", "1.1", [(b"host", b"me@a")]), 400),
    "another authority": ((b"GET", b"http://other.example/", "1.1", HOST), 400),
    "another port": ((b"GET", b"http://shop.example:81/", "1.1", HOST), 400),
    "an authority with a user": ((b"GET", b"http://me@shop.example/", "1.1", HOST), 400),
    "no authority": ((b"GET", b"http:///x", "1.1", HOST), 400),
    "another scheme": ((b"GET", b"ftp://shop.example/", "1.1", HOST), 400),
    "an asterisk": ((b"OPTIONS", b"*", "1.1", HOST), 400),
    "no slash": ((b"GET", b"x", "1.1", HOST), 400),
    "a fragment": ((b"GET", b"/a#b", "1.1", HOST), 400),
    "a fragment in a URL": ((b"GET", b"http://shop.example/a#b", "1.1", HOST), 400),
    "a coding in HTTP/1.0": ((b"POST", b"/", "1.0", [*HOST, CHUNKED]), 400),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    (method, target, version, headers), status = REFUSED[name]
    told = refusal(method, target, version, headers, handshake=False)
    assert told is not None
    assert told.status == status


TAKEN = {
    "a path": (b"/a?b=c", "1.1", HOST),
    "HTTP/1.0 without Host": (b"/", "1.0", []),
    "an empty Host": (b"/", "1.1", [(b"host", b"")]),
    "an IPv6 Host": (b"/", "1.1", [(b"host", b"[::1]:8000")]),
    "a whole URL": (b"http://shop.example/a", "1.1", HOST),
    "in another case, with the scheme's port": (b"HTTP://Shop.Example:80/a", "1.1", HOST),
    "a path like a URL": (b"//other.example/", "1.1", HOST),
}


@pytest.mark.parametrize("name", TAKEN)
def test_taken(name: str) -> None:
    target, version, headers = TAKEN[name]
    assert refusal(b"GET", target, version, headers, handshake=False) is None


@pytest.mark.parametrize("header", [CHUNKED, (b"content-length", b"5")])
def test_a_handshake_has_no_body(header: tuple[bytes, bytes]) -> None:
    told = refusal(b"GET", b"/ws", "1.1", [*HOST, header], handshake=True)
    assert told is not None
    assert refusal(b"GET", b"/ws", "1.1", [*HOST, (b"content-length", b"0")], handshake=True) is None


def test_the_path_of_a_whole_url() -> None:
    assert origin_form(b"/a?b") == b"/a?b"
    assert origin_form(b"http://a/b?c") == b"/b?c"
    assert origin_form(b"https://a") == b"/"
    assert origin_form(b"http://a?b=c") == b"/?b=c"


def test_a_head_without_its_upgrade_asks_for_nothing_else_and_is_otherwise_the_same() -> None:
    headers = [
        *HOST,
        (b"connection", b"close, Upgrade, X-A"),
        (b"upgrade", b"h2c"),
        (b"content-length", b"4"),
        (b"x-a", b"1"),
    ]
    assert without_upgrade(b"POST", b"/a?b", "1.1", headers) == (
        b"POST /a?b HTTP/1.1\r\nhost: shop.example\r\nconnection: close, X-A\r\ncontent-length: 4\r\nx-a: 1\r\n\r\n"
    )
    assert has_body(headers)
    assert not has_body([*HOST, (b"content-length", b"0")])
