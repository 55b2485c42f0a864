"""Length-prefixed msgpack frames on a byte stream, without I/O: bytes in, payloads out, and back.

A frame is a 4-byte big-endian length followed by that many bytes. Links, the embedded broker and
the supervisor's channel all use it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from headgate.base.errors import ProtocolError

_LENGTH: Final = struct.Struct(">I")
HEADER_BYTES: Final = _LENGTH.size


def frame(payload: bytes | bytearray) -> bytes:
    """One payload as a frame."""
    return _LENGTH.pack(len(payload)) + payload


class FrameReader:
    """Cuts a byte stream into payloads.

    Args:
        limit: the greatest payload in bytes; a longer one is a protocol error, found from its header alone.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Take bytes as they came; yields each payload that is now complete.

        Raises:
            ProtocolError: a frame longer than the limit.
        """
        buffer = self._buffer
        buffer += data
        at = 0
        try:
            while len(buffer) - at >= HEADER_BYTES:
                (length,) = _LENGTH.unpack_from(buffer, at)
                if length > self._limit:
                    raise ProtocolError(f"a frame of {length} bytes was announced; at most {self._limit} are allowed")
                end = at + HEADER_BYTES + length
                if len(buffer) < end:
                    break
                payload = bytes(memoryview(buffer)[at + HEADER_BYTES : end])
                at = end
                yield payload
        finally:
            del buffer[:at]
