"""Arguments as the scripts' msgpack reads them: it knows no binaries, so bytes travel as what it calls strings."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

_encode = msgspec.msgpack.Encoder().encode


def arguments(value: Sequence[Any]) -> bytes:
    """A list of arguments: None, bool, int, float, str, bytes, lists and maps of them."""
    out: list[bytes] = []
    _add(value, out)
    return b"".join(out)


def _add(value: Any, out: list[bytes]) -> None:
    if isinstance(value, bytes):
        out.append(_header(len(value)))
        out.append(value)
    elif isinstance(value, list | tuple):
        size = len(value)
        out.append(bytes((0x90 | size,)) if size < 16 else struct.pack(">BI", 0xDD, size))
        for item in value:
            _add(item, out)
    elif isinstance(value, Mapping):
        out.append(struct.pack(">BI", 0xDF, len(value)))
        for key, item in value.items():
            out.append(_encode(key))
            _add(item, out)
    else:
        out.append(_encode(value))


def _header(size: int) -> bytes:
    if size < 32:
        return bytes((0xA0 | size,))
    if size < 256:
        return bytes((0xD9, size))
    return struct.pack(">BI", 0xDB, size)
