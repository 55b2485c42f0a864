"""The WebSocket close codes that a gateway uses, and why (RFC 6455 §7.4, the IANA registry, and our own from 4000)."""

from __future__ import annotations

from typing import Final

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
NO_CODE: Final = 1005
ABNORMAL: Final = 1006
"""Never sent: the connection ended without a close frame."""
BAD_DATA: Final = 1007
TOO_BIG: Final = 1009
"""A message over `max_message`."""
INTERNAL: Final = 1011
"""Also: the client did not answer a ping in time."""
RESTART: Final = 1012
"""The gateway, or the app worker of a loop socket, stops; the reason says when to come back (`retry in 1.5 s`)."""
TRY_LATER: Final = 1013
"""A bound is reached: connections, handshakes, a lane's waiting room."""
TOO_SLOW: Final = 4008
"""The client does not read what it must get (answers, results): too many bytes, or for too long. It can resume."""

EVICTED: Final = 4009
"""A newer connection of the same session has taken over: this one must not come back by itself."""


def said(code: int) -> int:
    """The code if it may stand in a close frame; what may not (1005, 1006, out of range) becomes 1000 or 1011."""
    if code in (NO_CODE, 0):
        return NORMAL
    if 3000 <= code <= 4999 or (1000 <= code <= 1014 and code not in (1004, NO_CODE, ABNORMAL)):
        return code
    return INTERNAL
