"""The benchmark's own WebSocket client: it counts frames however they are cut, and answers pings."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from bench.sockets.holder import Held

MESSAGE = b"m" * 200
FRAME = bytes((0x81, 126)) + len(MESSAGE).to_bytes(2) + MESSAGE


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Held, socket.socket]]:
    """A held connection after its handshake, and the server's end of it."""
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(socket, "create_connection", lambda *_args, **_options: ours)
    one = Held(("127.0.0.1", 1), "/ws", "40")
    assert b"GET /ws HTTP/1.1" in theirs.recv(4096)
    theirs.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + FRAME[:3])
    one.finish()
    assert theirs.recv(4096) == b"\x81\x82\x00\x00\x00\x0040"
    yield one, theirs
    ours.close()
    theirs.close()


def test_frames_count_however_they_are_cut(held: tuple[Held, socket.socket]) -> None:
    one, theirs = held
    theirs.sendall(FRAME[3:] + FRAME + FRAME[:-1])
    assert one.read() == 2
    theirs.sendall(FRAME[-1:])
    assert one.read() == 1
    assert one.read() == 0
    assert one.received == 3


def test_pings_of_both_protocols_are_answered_and_not_counted(held: tuple[Held, socket.socket]) -> None:
    one, theirs = held
    theirs.sendall(FRAME[3:] + b"\x89\x02hi" + b"\x81\x012")
    assert one.read() == 1
    assert theirs.recv(4096) == b"\x8a\x82\x00\x00\x00\x00hi" + b"\x81\x81\x00\x00\x00\x003"


def test_a_closed_connection_is_an_error(held: tuple[Held, socket.socket]) -> None:
    one, theirs = held
    theirs.close()
    with pytest.raises(ConnectionError, match="closed a held connection"):
        one.read()


@pytest.mark.parametrize(("sent", "ended"), [(FRAME[3:], False), (FRAME[3:] + b"\x88\x02\x03\xf4", True)])
def test_a_close_frame_behind_data_is_an_end(held: tuple[Held, socket.socket], sent: bytes, ended: bool) -> None:
    one, theirs = held
    theirs.sendall(sent)
    assert one.ended() is ended


def test_a_refused_handshake_says_what_came(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(socket, "create_connection", lambda *_args, **_options: ours)
    with ours, theirs:
        one = Held(("127.0.0.1", 1), "/ws", "")
        theirs.sendall(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
        with pytest.raises(ConnectionError, match="503 Service Unavailable"):
            one.finish()


@pytest.mark.parametrize(("size", "head"), [(2, b"\x81\x82"), (200, b"\x81\xfe\x00\xc8")])
def test_what_is_sent_has_its_length_in_the_frame(held: tuple[Held, socket.socket], size: int, head: bytes) -> None:
    one, theirs = held
    one.send(0x1, b"m" * size)
    assert theirs.recv(4096) == head + bytes(4) + b"m" * size
