"""WebSocket frames that go out (RFC 6455 §5.2): whole, unmasked, made once for however many connections. Pure."""

from __future__ import annotations

import struct


def text_frame(payload: bytes) -> bytes:
    """A whole text message as an unmasked frame."""
    return frame(0x81, payload)


def binary_frame(payload: bytes) -> bytes:
    """A whole binary message as an unmasked frame."""
    return frame(0x82, payload)


def data_frame(data: str | bytes) -> bytes:
    """Text or bytes as the frame of their kind."""
    return frame(0x81, data.encode("utf-8", "replace")) if isinstance(data, str) else frame(0x82, data)


def close_frame(payload: bytes) -> bytes:
    """A close frame; the payload is a code of two bytes and a reason, or nothing."""
    return frame(0x88, payload)


def frame(first: int, payload: bytes) -> bytes:
    """A frame with this first byte (FIN, RSV, opcode)."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", first, size) + payload
    if size < 65536:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


def parts(made: bytes) -> tuple[int, bytes]:
    """The first byte and the payload of such a frame."""
    size = made[1]
    return made[0], made[2 if size < 126 else 4 if size == 126 else 10 :]
