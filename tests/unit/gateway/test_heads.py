from __future__ import annotations

import pytest

from headgate.gateway.heads import BadHead, Trust, outgoing, read

TRUST = Trust(["127.0.0.1", "10.0.0.0/8", "unix"])
PROXY = ("127.0.0.1", 5000)
STRANGER = ("203.0.113.9", 5000)


def test_hop_by_hop_headers_end_here_with_those_that_connection_names() -> None:
    head = read(
        [
            (b"host", b"x"),
            (b"connection", b"keep-alive, X-Secret, content-length, host"),
            (b"keep-alive", b"5"),
            (b"te", b"trailers"),
            (b"x-secret", b"1"),
            (b"content-length", b"3"),
            (b"accept", b"*/*"),
        ],
        PROXY,
        "http",
        TRUST,
    )
    assert sorted(head.headers) == [(b"accept", b"*/*"), (b"content-length", b"3"), (b"host", b"x")]
    assert head.length == 3


def test_a_trusted_proxy_says_who_the_client_is() -> None:
    head = read(
        [
            (b"x-forwarded-for", b"1.2.3.4, 198.51.100.7"),
            (b"x-forwarded-proto", b"https"),
            (b"x-request-id", b"abc-1"),
        ],
        PROXY,
        "http",
        TRUST,
    )
    assert head.client == ("198.51.100.7", 0), "the last is what the proxy itself saw; the others may be made up"
    assert head.scheme == "https"
    assert head.request_id == "abc-1"
    assert (b"x-forwarded-proto", b"https") in head.headers


@pytest.mark.parametrize(
    ("name", "values", "client"),
    [
        (b"x-forwarded-for", [b"6.6.6.6, 198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        (b"x-forwarded-for", [b"6.6.6.6", b"198.51.100.7", b"10.0.0.2, 10.0.0.3"], "198.51.100.7"),
        (b"x-forwarded-for", [b"10.0.0.4, 10.0.0.2"], "10.0.0.4"),
        (b"x-forwarded-for", [b"6.6.6.6, unknown, 10.0.0.2"], "10.0.0.2"),
        (b"x-forwarded-for", [b"6.6.6.6, nonsense"], "127.0.0.1"),
        (b"x-forwarded-for", [b"6.6.6.6,"], "127.0.0.1"),
        (b"forwarded", [b'for=6.6.6.6, for="198.51.100.7:80";proto=http, for=10.0.0.2;proto=https'], "198.51.100.7"),
    ],
)
def test_through_several_trusted_proxies_the_first_stranger_is_the_client(
    name: bytes, values: list[bytes], client: str
) -> None:
    head = read([(name, value) for value in values], PROXY, "http", TRUST)
    assert head.client is not None
    assert head.client[0] == client
    assert head.scheme == ("https" if name == b"forwarded" else "http")


def test_a_strangers_word_is_dropped() -> None:
    head = read(
        [
            (b"x-forwarded-for", b"127.0.0.1"),
            (b"forwarded", b"for=127.0.0.1;proto=https"),
            (b"x-real-ip", b"127.0.0.1"),
            (b"x-forwarded-prefix", b"/evil"),
            (b"x-request-id", b"abc"),
            (b"x_forwarded_for", b"127.0.0.1"),
        ],
        STRANGER,
        "http",
        TRUST,
    )
    assert (head.client, head.scheme, head.headers, head.request_id) == (STRANGER, "http", [], "")


@pytest.mark.parametrize(
    ("value", "client", "scheme"),
    [
        (b"for=192.0.2.60;proto=https;by=203.0.113.43", ("192.0.2.60", 0), "https"),
        (b'for=1.1.1.1, for="[2001:db8::17]:4711"', ("2001:db8::17", 0), "http"),
        (b"for=unknown", PROXY, "http"),
        (b"for=_hidden;proto=gopher", PROXY, "http"),
        (b";;;=", PROXY, "http"),
    ],
)
def test_forwarded(value: bytes, client: tuple[str, int], scheme: str) -> None:
    head = read([(b"forwarded", value)], PROXY, "http", TRUST)
    assert (head.client, head.scheme) == (client, scheme)


def test_a_handshake_keeps_its_own_schemes() -> None:
    assert read([(b"x-forwarded-proto", b"https")], PROXY, "ws", TRUST).scheme == "wss"


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"3"), (b"content-length", b"4")],
        [(b"content-length", b"3"), (b"transfer-encoding", b"chunked")],
        [(b"content-length", b"+3")],
        [(b"content-length", b"3,3")],
        [(b"content-length", b"9" * 19)],
        [(b"content-length", b"")],
    ],
)
def test_lengths_that_contradict_themselves_are_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(BadHead):
        read(headers, PROXY, "http", TRUST)


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [("127.0.0.1", True), ("10.9.8.7", True), ("::ffff:10.1.1.1", True), ("11.0.0.1", False), ("nonsense", False)],
)
def test_whom_to_trust(peer: str, trusted: bool) -> None:
    assert TRUST.trusts(peer) is trusted
    assert TRUST.trusts(peer) is trusted, "the answer is remembered"


def test_unix_peers_and_everybody() -> None:
    assert TRUST.trusts(None)
    assert not Trust(["127.0.0.1"]).trusts(None)
    assert Trust(["*"]).trusts("203.0.113.1")


def test_a_response_loses_its_hop_by_hop_headers() -> None:
    assert outgoing([(b"connection", b"close"), (b"x", b"1"), (b"transfer-encoding", b"chunked")]) == [(b"x", b"1")]
