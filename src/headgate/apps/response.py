"""The response half of PEP 3333: `start_response`, `write`, and what becomes of the iterable."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final

from headgate.apps.exchange import ClientGone, Exchange
from headgate.base.errors import HeadgateError

log = logging.getLogger("headgate.app")

Header = tuple[bytes, bytes]

_STATUS: Final = re.compile(r"[1-9][0-9]{2}(?: [\t\x20-\x7e\x80-\xff]*)?\Z")
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
"""RFC 9110 §5.6.2: a token."""
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*\Z")
_HOP_BY_HOP: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade")
)
"""RFC 9110 §7.6.1: between the gateway and its client, and none of the app's business; they are dropped."""
_BODILESS: Final = frozenset((204, 304))


class WsgiViolation(HeadgateError):
    """The app does what PEP 3333 forbids, so that no correct response can be made of it."""


class Reply:
    """One response of a WSGI app, from `start_response` to its end.

    Args:
        exchange: where it goes.
        method: of the request; HEAD gets no body.
        clock: seconds, for the handler's run time.
    """

    __slots__ = (
        "_body_allowed",
        "_clock",
        "_headers",
        "_left",
        "_method",
        "_since",
        "_status",
        "complete",
        "exchange",
        "sent",
    )

    def __init__(self, exchange: Exchange, method: str, clock: Callable[[], float]) -> None:
        self.exchange = exchange
        self._method = method
        self._clock = clock
        self._since = clock()
        self._status = 0
        self._headers: list[Header] = []
        self._left: int | None = None
        self._body_allowed = True
        self.sent = False
        """The head is on its way."""
        self.complete = False
        """So is the end."""

    @property
    def run(self) -> float:
        """Seconds since the handler began."""
        return self._clock() - self._since

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        """`start_response`.

        Raises:
            WsgiViolation: called twice without exc_info, or with a status or header that HTTP does not allow.
            BaseException: that of exc_info, if the head is sent already.
        """
        if exc_info is not None:
            try:
                if self.sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # PEP 3333: no circular reference through the frame
        elif self._status:
            raise WsgiViolation("start_response was called a second time without exc_info (PEP 3333)")
        if not isinstance(status, str) or not _STATUS.match(status):
            raise WsgiViolation(f"{status!r} is no status; it must look like '200 OK'")
        self._status = int(status[:3])
        if self._status < 200:
            raise WsgiViolation(f"{status!r} is an interim status, which the server alone sends")
        self._left = None
        self._headers = self._encode(headers)
        self._body_allowed = self._method != "HEAD" and self._status not in _BODILESS
        return self.write

    def write(self, data: bytes) -> None:
        """`write`, and each block of the iterable.

        Raises:
            ClientGone: nobody reads it any more.
        """
        if not isinstance(data, bytes):
            raise WsgiViolation(f"the body must consist of bytes, not {type(data).__name__}; encode text first")
        if not self._status:
            raise WsgiViolation("the body began before start_response was called (PEP 3333)")
        if self.exchange.cancelled:
            raise ClientGone("the client has gone away: stop writing")
        if not data or self.complete:
            self._surplus(data)
            return
        if self._left is not None and self._body_allowed:
            if len(data) > self._left:
                self._surplus(data[self._left :])
                data = data[: self._left]
            self._left -= len(data)
        self._send(data, more=self._left != 0)

    def send(self, iterable: Iterable[bytes]) -> None:
        """Send what the app returned, to its end."""
        if self._left is None and self._status and not self.sent and _has_length(iterable, 1):
            (only,) = iterable
            if isinstance(only, bytes) and self._status not in _BODILESS:
                self._headers.append((b"content-length", b"%d" % len(only)))
                self._left = len(only)
            if only:
                self.write(only)
        else:
            for block in iterable:
                self.write(block)
                if self.complete and not self._body_allowed:
                    return  # HEAD, 204, 304: the rest would be produced for nobody
        self.finish()

    def finish(self) -> None:
        """The app has no more to say.

        Raises:
            WsgiViolation: there is no response, or less of it than its Content-Length says.
        """
        if not self._status:
            raise WsgiViolation("the app returned without calling start_response (PEP 3333)")
        if self.complete:
            return
        if self._left and self._body_allowed:
            raise WsgiViolation(f"the body ended {self._left} bytes before its Content-Length")
        self._send(b"", more=False)

    def _send(self, data: bytes, more: bool) -> None:
        if not self._body_allowed:
            data, more = b"", False
        self.complete = not more
        if self.sent:
            self.exchange.chunk(data, more, self.run)
            return
        self.sent = True
        if not more and self._left is None and self._body_allowed:  # the end came first: the length is known after all
            self._headers.append((b"content-length", b"%d" % len(data)))
        self.exchange.head(self._status, self._headers, data, more, self.run)

    def _encode(self, headers: list[tuple[str, str]]) -> list[Header]:
        encoded: list[Header] = []
        for item in headers:
            try:
                pair = encode_header(*item)
            except (TypeError, ValueError) as exc:
                raise WsgiViolation(f"{item!r} is no header: {exc}") from None
            if pair[0] in _HOP_BY_HOP:
                continue
            if pair[0] == b"content-length":
                if self._left is not None and self._left != int(pair[1]):
                    raise WsgiViolation("there are two different Content-Length headers")
                if self._left is not None:
                    continue
                self._left = int(pair[1])
            encoded.append(pair)
        return encoded

    def _surplus(self, data: bytes) -> None:
        if data and self._body_allowed:
            log.warning("%s writes more than its Content-Length; the rest is dropped", self.exchange.handler)


class CollectedReply:
    """A response that is collected instead of sent: a refused handshake, a request that runs as a job."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[Header] = []
        self._body: list[bytes] = []

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        """`start_response`."""
        self.status = int(status[:3])
        self.headers = [encode_header(*header) for header in headers]
        return self._body.append

    def body(self, iterable: Any) -> bytes:
        """All of the body; `close` is called."""
        try:
            return b"".join([*self._body, *iterable])
        finally:
            close = getattr(iterable, "close", None)
            if close is not None:
                close()


@lru_cache(maxsize=4096)
def encode_header(name: str, value: str) -> Header:
    """A header as bytes, its name in lower case.

    Raises:
        TypeError: name or value is no text.
        ValueError: RFC 9110 §5 does not allow it (a line break in a value, above all).
    """
    if not isinstance(name, str) or not isinstance(value, str):
        raise TypeError("name and value must both be str")
    if not _NAME.match(name):
        raise ValueError("the name has a character that is not allowed in one")
    if not _VALUE.match(value):
        raise ValueError("the value has a control character (a line break?) or one that is not Latin-1")
    if name.lower() == "content-length" and not (value.isascii() and value.isdigit()):
        raise ValueError("a length is a whole number")
    return name.lower().encode("latin-1"), value.strip(" \t").encode("latin-1")


def _has_length(iterable: Any, length: int) -> bool:
    try:
        return len(iterable) == length
    except TypeError:
        return False
