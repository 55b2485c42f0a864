"""The few responses that a gateway makes itself: small, JSON, and saying what to do."""

from __future__ import annotations

import http
from collections.abc import Iterable
from email.utils import formatdate
from typing import Any

import msgspec

Headers = list[tuple[bytes, bytes]]


class Page(msgspec.Struct, frozen=True):
    """One response, whole."""

    status: int
    headers: Headers
    body: bytes

    def wire(self) -> bytes:
        """As HTTP/1.1 bytes, for where no request is under way; the connection ends after it."""
        try:
            phrase = http.HTTPStatus(self.status).phrase
        except ValueError:
            phrase = ""
        lines = [b"HTTP/1.1 %d %s" % (self.status, phrase.encode())]
        lines += [b"%s: %s" % pair for pair in self.headers]
        lines.append(b"date: " + formatdate(usegmt=True).encode())
        return b"\r\n".join([*lines, b"connection: close", b"", self.body])


def page(
    status: int,
    error: str,
    message: str,
    *,
    retry_after: float | None = None,
    headers: Iterable[tuple[bytes, bytes]] = (),
    **more: Any,
) -> Page:
    """An error of the gateway's own.

    Args:
        error: a short word for programs.
        message: what happened and what to do, for people.
        retry_after: seconds; also sent as the header of that name (RFC 9110 §10.2.3).
        more: further fields of the JSON body.
    """
    content: dict[str, Any] = {"error": error, "message": message, **more}
    if retry_after is not None:
        content["retry_after"] = max(1, round(retry_after))
    return json_page(status, content, headers=headers, retry_after=retry_after)


def json_page(
    status: int, content: Any, *, headers: Iterable[tuple[bytes, bytes]] = (), retry_after: float | None = None
) -> Page:
    """A JSON value as a response that nobody keeps."""
    body = msgspec.json.encode(content) + b"\n"
    lines = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        *headers,
    ]
    if retry_after is not None:
        lines.append((b"retry-after", b"%d" % max(1, round(retry_after))))
    return Page(status, lines, body)
