"""How events and states look to clients of the HTTP face: bodies, headers, event streams. Pure."""

from __future__ import annotations

import base64
import datetime
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from headgate.base.model import Event
from headgate.base.streams import CLOSED, JSON, MESSAGE, StreamInfo, StreamSpec, media_type
from headgate.gateway.follows import shown
from headgate.gateway.pages import Headers, Page, page

INTERVAL: Final = 20.0
"""Seconds for which a cursor stays the same (§10.1)."""
EPOCH: Final = 1_728_432_000.0
"""From when intervals are counted: 2024-10-09."""
_NEWLINE: Final = re.compile(r"\r\n|\r|\n")
_JOBS: Final = "jobs/"

ALWAYS: Final[Headers] = [
    (b"x-content-type-options", b"nosniff"),
    # What somebody wrote as HTML is shown by the browser as a document without an origin, and runs nothing
    (b"content-security-policy", b"sandbox; default-src 'none'"),
    (b"cross-origin-resource-policy", b"cross-origin"),
    (b"access-control-allow-origin", b"*"),
    (
        b"access-control-expose-headers",
        b"etag, location, stream-next-offset, stream-cursor, stream-up-to-date, stream-closed, stream-ttl, "
        b"stream-expires-at, stream-sse-data-encoding, stream-truncated, producer-epoch, producer-seq, "
        b"producer-expected-seq, producer-received-seq, retry-after",
    ),
]
PREFLIGHT: Final = Page(
    204,
    [
        *ALWAYS,
        (b"access-control-allow-methods", b"GET, HEAD, PUT, POST, DELETE, OPTIONS"),
        (
            b"access-control-allow-headers",
            b"content-type, authorization, if-none-match, last-event-id, stream-seq, stream-ttl, stream-expires-at, "
            b"stream-closed, stream-forked-from, stream-fork-offset, stream-fork-sub-offset, producer-id, "
            b"producer-epoch, producer-seq",
        ),
        (b"access-control-max-age", b"86400"),
    ],
    b"",
)


def told(offset: int) -> bytes:
    """An offset as clients see it: opaque, and sorted as text."""
    return b"%016d" % offset


def refusal(status: int, error: str, message: str, *, headers: Iterable[tuple[bytes, bytes]] = (), **more: Any) -> Page:
    """An error page with what every answer of the face carries."""
    return page(status, error, message, headers=[*ALWAYS, *headers], **more)


def is_text(content_type: str) -> bool:
    """Whether an event stream carries its data as they are (§5.8)."""
    kind = media_type(content_type)
    return kind == JSON or kind.startswith("text/")


def message(stream: str, event: Event) -> bytes:
    """One message of a JSON stream: what was appended, or, if the event has a kind of its own, an envelope."""
    if event.kind == MESSAGE and not stream.startswith(_JOBS):
        return msgspec.json.encode(event.data, enc_hook=str)
    content = {"offset": told(event.offset).decode(), "event": event.kind, "data": shown(event), "at": event.at}
    if event.terminal:
        content["terminal"] = True
    return msgspec.json.encode(content, enc_hook=str)


def carried(events: Iterable[Event]) -> list[Event]:
    """The events that carry data: not the record that only ends a stream."""
    return [event for event in events if not (event.terminal and event.kind == CLOSED)]


def body(stream: str, content_type: str, events: Sequence[Event]) -> bytes:
    """What a read answers with (§9)."""
    if media_type(content_type) == JSON:
        return b"[" + b",".join([message(stream, event) for event in events]) + b"]"
    return b"".join([raw(event) for event in events])


def raw(event: Event) -> bytes:
    """The bytes of an event of a stream that is no JSON."""
    data = event.data
    if isinstance(data, bytes):
        return data
    return data.encode() if isinstance(data, str) else msgspec.json.encode(data, enc_hook=str)


def data_event(content_type: str, content: bytes, offset: int) -> bytes:
    """A body as one event of an event stream (§5.8). Its id is the offset behind it, so that none is got twice."""
    head = b"id: " + told(offset) + b"\nevent: data\n"
    if media_type(content_type) == JSON:
        return head + b"data:" + content + b"\n\n"
    if not is_text(content_type):
        return head + b"data:" + base64.b64encode(content) + b"\n\n"
    # A line of the event stream ends at each of these, so none of them may stand in one.
    lines = _NEWLINE.split(content.decode("utf-8", "replace"))
    return head + "".join(f"data:{_guarded(line)}\n" for line in lines).encode() + b"\n"


def _guarded(line: str) -> str:
    return f" {line}" if line.startswith(" ") else line  # one leading space is taken off by the reader


def control_event(offset: int, *, cursor: str, up_to_date: bool, closed: bool) -> bytes:
    """Where the reader of an event stream is now; its id is what comes back as Last-Event-ID."""
    content: dict[str, object] = {"streamNextOffset": told(offset).decode()}
    if closed:
        content |= {"upToDate": True, "streamClosed": True}
    else:
        content["streamCursor"] = cursor
        if up_to_date:
            content["upToDate"] = True
    return b"id: " + told(offset) + b"\nevent: control\ndata:" + msgspec.json.encode(content) + b"\n\n"


def truncated_event(offset: int, reason: str) -> bytes:
    """Events before this one are gone."""
    content = msgspec.json.encode({"reason": reason, "streamNextOffset": told(offset).decode()})
    return b"id: " + told(offset) + b"\nevent: truncated\ndata:" + content + b"\n\n"


def gone_event(reason: str) -> bytes:
    """The stream is no more: nothing will come, and coming back is of no use."""
    return b"event: gone\ndata:" + msgspec.json.encode({"reason": reason}) + b"\n\n"


def cursor(now: float, given: str, random: float) -> str:
    """A cursor that never goes back (§10.1); `random` is below 1."""
    current = int((now - EPOCH) / INTERVAL)
    if given.isdigit() and len(given) < 16 and int(given) >= current:
        return str(int(given) + 1 + int(random * 3600 / INTERVAL))
    return str(current)


def described(info: StreamInfo) -> Headers:
    """What every answer tells of a stream."""
    headers = [
        *ALWAYS,
        (b"content-type", (info.spec.content_type or JSON).encode("latin-1", "replace")),
        (b"stream-next-offset", told(info.last)),
    ]
    return [*headers, (b"stream-closed", b"true")] if info.ended else headers


def timed(spec: StreamSpec) -> Headers:
    """How long a stream lives, where somebody said so."""
    headers: Headers = []
    if spec.ttl is not None:
        headers.append((b"stream-ttl", b"%d" % spec.ttl))
    if spec.expires_at is not None:
        moment = datetime.datetime.fromtimestamp(spec.expires_at, datetime.UTC)
        headers.append((b"stream-expires-at", moment.isoformat().replace("+00:00", "Z").encode()))
    return headers
