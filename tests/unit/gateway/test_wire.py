"""The shell of a WebSocket: how it ends, with a transport and a client that are played."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from headgate.gateway import wire as module
from headgate.gateway.frames import frame, text_frame
from headgate.gateway.noted import Noted
from headgate.gateway.wire import SURPLUS, Wire, new_protocol

pytestmark = pytest.mark.anyio


class Transport(asyncio.Transport):
    """Remembers what is done to it."""

    def __init__(self, *, half_close: bool = True) -> None:
        super().__init__()
        self.out = bytearray()
        self.done: list[str] = []
        self._half_close = half_close

    def write(self, data: Any) -> None:
        self.out += data

    def can_write_eof(self) -> bool:
        return self._half_close

    def write_eof(self) -> None:
        self.done.append("eof")

    def close(self) -> None:
        self.done.append("close")

    def abort(self) -> None:
        self.done.append("abort")

    def is_closing(self) -> bool:
        return "close" in self.done or "abort" in self.done

    def pause_reading(self) -> None:
        self.done.append("pause")

    def resume_reading(self) -> None:
        self.done.append("resume")

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...


class Peer:
    def __init__(self) -> None:
        self.got: list[str | bytes] = []
        self.end: list[tuple[int, str]] = []

    def message(self, data: str | bytes) -> None:
        self.got.append(data)

    def writable(self) -> None: ...

    def ended(self, code: int, reason: str) -> None:
        self.end.append((code, reason))


def made(**options: Any) -> tuple[Wire, Transport, Peer]:
    transport, peer = Transport(**options), Peer()
    return Wire(transport, new_protocol(1000), peer, lambda _: None), transport, peer


def masked(first: int, payload: bytes) -> bytes:
    head = bytearray(frame(first, payload)[: len(frame(first, payload)) - len(payload)])
    head[1] |= 0x80
    return bytes(head) + bytes(4) + payload


async def test_a_message_over_the_bound_is_told_and_the_rest_is_not_listened_to(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_NOTED", Noted(logging.getLogger("headgate.gateway")))
    caplog.set_level(logging.WARNING, "headgate.gateway")
    wire, transport, peer = made()
    wire.data_received(masked(0x82, b"x" * 2000))
    assert transport.out[:1] == b"\x88"
    assert int.from_bytes(transport.out[2:4]) == 1009
    assert peer.end[0][0] == wire.failed == 1009
    assert transport.done == ["eof"], "our side is closed at once"
    for _ in range(SURPLUS // 65_536 + 2):
        wire.data_received(b"\x00" * 65_536)
    assert transport.done == ["eof", "pause"], "a flood is not read"
    wire.connection_lost(None)
    assert peer.end == [peer.end[0]]
    assert peer.got == []
    assert "max_message" in caplog.text


async def test_where_a_side_cannot_be_closed_alone_both_are() -> None:
    wire, transport, _ = made(half_close=False)
    wire.data_received(masked(0x81, b"\xff"))
    assert int.from_bytes(transport.out[2:4]) == 1007
    assert transport.done == ["close"]
    wire.connection_lost(None)


async def test_one_that_does_not_go_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    wire, transport, _ = made()
    loop = asyncio.get_running_loop()
    timers: list[tuple[float, Any]] = []

    def later(seconds: float, call: Any, *_: Any) -> asyncio.Handle:
        timers.append((seconds, call))
        return loop.call_soon(int)

    monkeypatch.setattr(loop, "call_later", later)
    wire.data_received(masked(0x83, b""))
    [(seconds, cut)] = timers
    assert seconds == module.FAIL_TIMEOUT
    cut()
    assert transport.done[-1] == "abort"
    wire.connection_lost(None)


async def test_a_closing_client_that_answers_is_closed_at_once_and_one_that_floods_is_held_back() -> None:
    wire, transport, peer = made()
    wire.close(1001, "bye")
    assert transport.done == []
    wire.data_received(masked(0x88, b"\x03\xe9"))
    assert transport.done == ["close"]
    wire.connection_lost(None)
    wire, transport, peer = made()
    wire.close(1001, "bye")
    for _ in range(SURPLUS // 1000 + 2):
        wire.data_received(masked(0x82, b"x" * 1000))
    assert transport.done == ["pause"]
    assert peer.got == []
    wire.connection_lost(None)


async def test_the_pongs_of_a_flood_are_one_while_the_client_does_not_read() -> None:
    wire, transport, _ = made()
    wire.pause_writing()
    for number in range(100):
        wire.data_received(masked(0x89, b"%d" % number))
    assert not transport.out
    wire.resume_writing()
    assert transport.out == frame(0x8A, b"99")
    wire.write(text_frame(b"x"))
    assert transport.out.endswith(b"\x81\x01x")
    wire.connection_lost(None)


async def test_a_message_of_very_many_fragments_costs_no_more_than_its_bytes() -> None:
    wire, _, peer = made()
    wire.data_received(masked(0x01, b""))
    for number in range(900):
        wire.data_received(masked(0x00, b"%d" % (number % 10)) + masked(0x00, b""))
    assert wire._parts is not None
    assert len(wire._parts) == 900
    wire.data_received(masked(0x80, b""))
    assert peer.got == ["0123456789" * 90]
    wire.connection_lost(None)
