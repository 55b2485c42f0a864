"""The event that a message names, which is a part of its handler's name in the lanes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

LONGEST: Final = 64
"""Characters; a longer value is data rather than the name of an event."""

EventOf = Callable[[str | bytes], str | None]


def event_finder(fields: Sequence[str]) -> EventOf:
    """A function that finds the event of a message: the first of the fields that a JSON object has as text.

    The rest of the message is skipped, not built.
    """
    names = [f"f{number}" for number in range(len(fields))]
    probe = msgspec.defstruct(
        "Probe", [(name, Any, None) for name in names], rename=dict(zip(names, fields, strict=True))
    )
    decode = msgspec.json.Decoder(probe).decode

    def find(data: str | bytes) -> str | None:
        if not isinstance(data, str) or "{" not in data[:8]:
            return None
        try:
            found = decode(data)
        except msgspec.MsgspecError:
            return None
        for name in names:
            event = getattr(found, name)
            if isinstance(event, str) and 0 < len(event) <= LONGEST and event.isprintable():
                return event
        return None

    return find
