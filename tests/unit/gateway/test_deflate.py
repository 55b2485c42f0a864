"""Compressed frames."""

from __future__ import annotations

import os
import zlib

import pytest

from headgate.gateway.deflate import LEAST, MOST, Deflate, Deflater, agreed
from headgate.gateway.frames import binary_frame, parts, text_frame


def inflated(frame: bytes, window: int) -> bytes:
    first, payload = parts(frame)
    assert first & 0x40
    return zlib.decompressobj(-window).decompress(payload + b"\x00\x00\xff\xff")


@pytest.mark.parametrize("size", [LEAST, 5_000, 100_000, MOST])
@pytest.mark.parametrize("window", [9, 12, 15])
def test_a_message_becomes_smaller_and_is_the_same(size: int, window: int) -> None:
    payload = (b'{"type": "price", "item": 17, "cents": 1250}' * (size // 40 + 1))[:size]
    for frame in (text_frame(payload), binary_frame(payload)):
        made = Deflater(window)(frame)
        assert made[0] == frame[0] | 0x40
        assert len(made) < len(frame) / 2
        assert inflated(made, window) == payload


@pytest.mark.parametrize("payload", [b"", b"a" * (LEAST - 1), os.urandom(5_000), b"a" * (MOST + 1)])
def test_what_gains_nothing_is_sent_as_it_is(payload: bytes) -> None:
    frame = binary_frame(payload)
    assert Deflater(12)(frame) is frame


def test_one_message_for_many_is_compressed_once() -> None:
    deflater, frame = Deflater(12), text_frame(b"a" * 1000)
    made = deflater(frame)
    assert deflater(frame) is made
    other = text_frame(b"b" * 1000)
    assert inflated(deflater(other), 12) == b"b" * 1000
    assert inflated(deflater(frame), 12) == b"a" * 1000


Params = list[tuple[str, str | None]]
OFFERS: dict[str, tuple[Deflate, Params, Params]] = {
    "nothing said": (
        Deflate(12, True),
        [],
        [("server_no_context_takeover", None), ("server_max_window_bits", "12")],
    ),
    "a browser": (
        Deflate(12, True),
        [("client_max_window_bits", None)],
        [("server_no_context_takeover", None), ("server_max_window_bits", "12"), ("client_max_window_bits", "12")],
    ),
    "smaller than ours": (
        Deflate(12, True),
        [("server_max_window_bits", "10"), ("client_max_window_bits", "9")],
        [("server_no_context_takeover", None), ("server_max_window_bits", "10"), ("client_max_window_bits", "9")],
    ),
    "nothing kept": (
        Deflate(15, False),
        [("client_max_window_bits", None)],
        [
            ("server_no_context_takeover", None),
            ("client_no_context_takeover", None),
            ("server_max_window_bits", "15"),
            ("client_max_window_bits", "15"),
        ],
    ),
}


@pytest.mark.parametrize("name", OFFERS)
def test_what_is_agreed(name: str) -> None:
    terms, offered, answer = OFFERS[name]
    [factory] = terms.factories()
    told, extension = factory.process_request_params(offered, [])
    assert told == answer
    assert agreed([extension]) is not None
    assert agreed([]) is None
