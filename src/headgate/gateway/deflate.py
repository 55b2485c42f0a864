"""permessage-deflate (RFC 7692), with costs that are known beforehand.

The server never keeps its window between messages (`server_no_context_takeover`): a message that goes to a
thousand members of a channel is compressed once, and a connection keeps no compressor. The client's window is
bounded, and with it what a connection keeps to read from it; or kept not at all.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Sequence
from typing import Final

import msgspec
from websockets.extensions.base import Extension, ServerExtensionFactory
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory

from headgate.gateway.frames import frame, parts

LEAST: Final = 256
"""Bytes of a message below which compression gains less than it costs."""
MOST: Final = 256 * 1024
"""Bytes above which it would hold up the loop for longer than the others should wait: a few milliseconds."""
LEVEL: Final = 1
"""zlib's fastest: text shrinks to about a fifth, where the best takes three times as long for a sixth."""


class Deflate(msgspec.Struct, frozen=True):
    """How compression is offered.

    Args:
        window: bits of both windows, 9 to 15 (512 bytes to 32 KiB).
        takeover: whether the client may refer back to its earlier messages, which costs a window per connection.
    """

    window: int = 12
    takeover: bool = True

    def factories(self) -> Sequence[ServerExtensionFactory]:
        """For the handshake of one connection."""
        return [
            ServerPerMessageDeflateFactory(
                server_no_context_takeover=True,
                client_no_context_takeover=not self.takeover,
                server_max_window_bits=self.window,
                client_max_window_bits=self.window,
            )
        ]


class Deflater:
    """Compresses whole frames of ours; remembers the last, which may go to many.

    Args:
        window: bits.
    """

    __slots__ = ("_last", "_made", "_window")

    def __init__(self, window: int) -> None:
        self._window = window
        self._last = self._made = b""

    def __call__(self, plain: bytes) -> bytes:
        """The frame to send for an unmasked, whole frame; the same one if it does not become smaller."""
        if plain is not self._last:
            self._last, self._made = plain, self._make(plain)
        return self._made

    def _make(self, plain: bytes) -> bytes:
        first, payload = parts(plain)
        if not LEAST <= len(payload) <= MOST or first & 0x78:  # small, large, or no message
            return plain
        squeeze = zlib.compressobj(LEVEL, zlib.DEFLATED, -self._window)
        small = squeeze.compress(payload) + squeeze.flush(zlib.Z_SYNC_FLUSH)
        return frame(first | 0x40, small[:-4]) if len(small) < len(payload) else plain


@functools.lru_cache(maxsize=16)
def deflater(window: int) -> Deflater:
    """The one for all connections with this window."""
    return Deflater(window)


def agreed(extensions: Sequence[Extension]) -> Deflater | None:
    """What compresses for a connection whose handshake ended with these extensions."""
    for extension in extensions:
        if isinstance(extension, PerMessageDeflate):
            return deflater(extension.local_max_window_bits)
    return None
