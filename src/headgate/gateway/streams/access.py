"""Who may read or write a stream: the holder of a signed address, or whom the app lets.

A signed address is checked first, at a cost that does not depend on what there is. Where the app has a hook (a route
of its own at `/-/streams-access`, which nobody can call from outside), it is asked with the client's own headers, so
that its sessions and logins count. Everybody else gets the same 404 as for what does not exist.
"""

from __future__ import annotations

import logging
from typing import Any, Final
from urllib.parse import urlencode

from headgate.base.errors import Full
from headgate.base.tokens import JOB, STREAM, STREAM_WRITE, Tokens
from headgate.gateway.bodies import Body
from headgate.gateway.calls import Call, Expired, Gone, Lost, TimedOut
from headgate.gateway.exchange import Exchange
from headgate.gateway.heads import BadHead
from headgate.gateway.httpproto import GONE
from headgate.gateway.web import Message, Web
from headgate.link.messages import Chunk, Fail, Head

log = logging.getLogger("headgate.gateway")

HOOK: Final = "/-/streams-access"
"""The app's route that is asked: `?stream=NAME&access=read|write`; 2xx allows, anything else refuses."""
JOBS: Final = "jobs/"
READ: Final = "read"
WRITE: Final = "write"
_BODY: Final = frozenset([b"content-length", b"content-type", b"transfer-encoding", b"expect"])


class NoAnswer(Exception):
    """The app could not be asked: the client may try again."""


class Access:
    """Says who may do what.

    Args:
        tokens: checks signed addresses.
        exchange, web: where the app's hook is, and how it is called.
    """

    def __init__(self, tokens: Tokens, exchange: Exchange, web: Web) -> None:
        self._tokens = tokens
        self._exchange = exchange
        self._web = web

    def by_token(self, scope: Message, stream: str, right: str, token: str) -> bool:
        """Whether the request carries a capability, in its address or as a bearer (RFC 6750 §2.1)."""
        given = token or _bearer(scope["headers"])
        good = [self._tokens.allows(given, STREAM_WRITE, stream)]
        if right == READ:
            good.append(self._tokens.allows(given, STREAM, stream))
            if stream.startswith(JOBS):  # a job's address is good for its stream
                good.append(self._tokens.allows(given, JOB, stream.removeprefix(JOBS)))
        return any(good)

    async def by_app(self, scope: Message, stream: str, right: str) -> bool:
        """Whether the app lets this client; False when it has no hook.

        Raises:
            NoAnswer: it could not be asked.
        """
        handler = f"GET {HOOK}"
        if self._exchange.rules.handler("GET", HOOK) != handler:
            return False
        try:
            return await self._ask(handler, scope, stream, right)
        except (Full, Lost, Expired, TimedOut) as exc:
            raise NoAnswer(str(exc) or "the app worker that was asked was lost") from None
        except Gone:
            return False

    async def _ask(self, handler: str, scope: Message, stream: str, right: str) -> bool:
        query = urlencode({"stream": stream, "access": right}).encode()
        asked: dict[str, Any] = {**scope, "path": HOOK, "raw_path": HOOK.encode(), "query_string": query}
        try:
            head = self._web.read_head({**asked, "headers": [one for one in scope["headers"] if one[0] not in _BODY]})
        except BadHead:
            return False
        call = Call(self._exchange, handler, self._web.link_scope(asked, head, "GET"), Body())
        scope[GONE] = call.client_gone
        try:
            self._exchange.submit(call)
            first = await call.frame()
            more = isinstance(first, Head) and first.more
            while more:
                frame = await call.frame()
                more = isinstance(frame, Chunk) and frame.more
        finally:
            scope.pop(GONE, None)
            call.let_go()
        if isinstance(first, Fail):
            log.warning("the app's hook %s failed for stream %s (error %s)", HOOK, stream, first.error_id)
        return isinstance(first, Head) and 200 <= first.status < 300


def _bearer(headers: list[tuple[bytes, bytes]]) -> str:
    value = next((value for name, value in headers if name == b"authorization"), b"")
    kind, _, token = value.partition(b" ")
    return token.strip().decode("latin-1") if kind.lower() == b"bearer" else ""
