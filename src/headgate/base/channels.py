"""What travels through a channel, and which channels a subscriber wants.

A published payload is the msgpack of a `str` (sent to clients as a text frame) or of `bytes` (a binary one);
JSON values are made text by the publisher, once, so that gateways need not look into them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from headgate.base.errors import ProtocolError

_decoder = msgspec.msgpack.Decoder()


def pack(data: Any) -> bytes:
    """The payload for what a publisher gave: text and bytes as they are, anything else as JSON text."""
    if isinstance(data, bytes | bytearray | memoryview):
        return msgspec.msgpack.encode(bytes(data))
    text = data if isinstance(data, str) else msgspec.json.encode(data).decode()
    return msgspec.msgpack.encode(text)


def unpack(payload: bytes) -> str | bytes:
    """The text or bytes of a payload. Raises `ProtocolError` for anything else."""
    try:
        data = _decoder.decode(payload)
    except msgspec.DecodeError as exc:
        raise ProtocolError(f"a channel message is not what `channels.pack` makes: {exc}") from exc
    if not isinstance(data, str | bytes):
        raise ProtocolError(f"a channel message holds a {type(data).__name__} where text or bytes are due")
    return data


class ChannelNames:
    """A `ChannelSet`: the wanted names, and a call for the driver when one comes or goes.

    A driver sets `changed` when its subscription begins, after it has taken the names there are.
    """

    def __init__(self) -> None:
        self._names: set[str] = set()
        self.changed: Callable[[str, bool], None] | None = None
        """Called with a name and whether it is wanted now."""

    def add(self, channel: str) -> None:
        if channel not in self._names:
            self._names.add(channel)
            if self.changed is not None:
                self.changed(channel, True)

    def discard(self, channel: str) -> None:
        if channel in self._names:
            self._names.discard(channel)
            if self.changed is not None:
                self.changed(channel, False)

    def __contains__(self, channel: object) -> bool:
        return channel in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._names))

    def __len__(self) -> int:
        return len(self._names)
