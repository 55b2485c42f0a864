"""The event that a message is about, read out of its JSON without building the rest of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

LONGEST: Final = 256 * 1024
"""Characters; a longer message is not looked into."""
_NAME: Final = re.compile(r"[A-Za-z0-9_.:/-]{1,64}")


class Peek:
    """Reads the event name, and the id, of JSON object messages.

    Args:
        fields: the fields that may hold the name, tried in order.
    """

    def __init__(self, fields: Sequence[str]) -> None:
        self._names = [f"f{number}" for number in range(len(fields))]
        shape = msgspec.defstruct(
            "Peeked",
            [(name, msgspec.Raw, msgspec.Raw()) for name in (*self._names, "id")],
            rename=dict(zip(self._names, fields, strict=True)),
        )
        self._decode: Callable[[str], Any] = msgspec.json.Decoder(shape).decode

    def event(self, data: str | bytes) -> str | None:
        """The event's name; None when the message names none that could be part of a handler's name."""
        found = self._look(data)
        if found is None:
            return None
        for name in self._names:
            raw = bytes(getattr(found, name))
            if raw[:1] == b'"':
                event = _value(raw)
                return event if isinstance(event, str) and _NAME.fullmatch(event) else None
        return None

    def id(self, data: str | bytes) -> Any:
        """The message's `id`, for an answer that has to be made without its handler."""
        found = self._look(data)
        raw = bytes(found.id) if found is not None else b""
        if not raw or raw[:1] in b"{[" or len(raw) > 256:
            return None
        return _value(raw)

    def _look(self, data: str | bytes) -> Any:
        if not isinstance(data, str) or len(data) > LONGEST or data.lstrip()[:1] != "{":
            return None
        try:
            return self._decode(data)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):  # the last: thousands of brackets
            return None


def _value(raw: bytes) -> Any:
    """What a piece of JSON stands for; None for a number that no float can hold and the like."""
    try:
        return msgspec.json.decode(raw)
    except msgspec.MsgspecError:
        return None
