"""What a request asks of a stream, read from its address, query, headers and body. Pure.

Sections are those of the Durable Streams protocol.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qsl, unquote

import msgspec

from headgate.base.errors import HeadgateError
from headgate.base.model import NewEvent
from headgate.base.streams import JSON, MESSAGE, Producer, StreamSpec, media_type

PREFIX: Final = "/-/streams/"
LONGEST: Final = 512
"""Characters of a stream's name."""
LAST_EVENT: Final = b"last-event-id"
START: Final = "-1"
NOW: Final = "now"
_OFFSET: Final = re.compile(r"\d{1,16}(?:_0{16})?")
_WHOLE: Final = re.compile(r"0|[1-9]\d*")
_MOST: Final = 2**53 - 1
_DECODER: Final = msgspec.json.Decoder()

Headers = Sequence[tuple[bytes, bytes]]


class Malformed(HeadgateError):
    """The request breaks the protocol: 400, and why."""


class Query(msgspec.Struct, frozen=True):
    """The query of a read."""

    offset: str | None = None
    live: str = ""
    cursor: str = ""
    token: str = ""


def name_of(path: str) -> str | None:
    """The stream that a path names; None if it is no name."""
    name = path.removeprefix(PREFIX)
    if not name or len(name) > LONGEST or not name.isprintable() or name.startswith(("__ds/", "/")):
        return None
    return name


def query_of(raw: bytes) -> Query:
    """Read a query; what is unknown in it is ignored (§11).

    Raises:
        Malformed: an empty or repeated offset, or an unknown way of reading.
    """
    try:
        pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise Malformed("the query has too many fields") from None
    offsets = [value for key, value in pairs if key == "offset"]
    if len(offsets) > 1:
        raise Malformed("there is more than one offset")
    fields = dict(pairs)
    live = fields.get("live", "")
    if live not in ("", "long-poll", "sse"):
        raise Malformed(f"live={live} is unknown; there are live=long-poll and live=sse")
    if offsets:
        position(offsets[0])
    elif live:
        raise Malformed("a live read needs an offset: offset=-1 for the start, offset=now for what comes")
    return Query(offsets[0] if offsets else None, live, fields.get("cursor", ""), fields.get("token", ""))


def token_of(raw: bytes) -> str:
    """The capability in a query, whatever else is in it."""
    found = re.search(rb"(?:^|&)token=([^&]*)", raw)
    return found[1].decode("latin-1") if found else ""


def position(offset: str | None) -> int | None:
    """The offset to read after; None for the present end.

    Raises:
        Malformed: it is no offset of ours (§8).
    """
    if offset is None or offset == START:
        return 0
    if offset == NOW:
        return None
    if not _OFFSET.fullmatch(offset):
        raise Malformed(f"{offset[:40]!r} is no offset; take it from Stream-Next-Offset as it is")
    return int(offset[:16].partition("_")[0])


def header(headers: Headers, name: bytes) -> str | None:
    """The first header of a name."""
    found = next((value for key, value in headers if key == name), None)
    return None if found is None else found.decode("latin-1")


def closes(headers: Headers) -> bool:
    """Whether it asks for the stream's end; only `true` does (§4.1)."""
    return (header(headers, b"stream-closed") or "").lower() == "true"


def producer_of(headers: Headers) -> Producer | None:
    """Who appends (§5.2.1).

    Raises:
        Malformed: only some of the three headers, or no whole numbers in them.
    """
    given = [header(headers, name) for name in (b"producer-id", b"producer-epoch", b"producer-seq")]
    if given == [None, None, None]:
        return None
    name, epoch, seq = given
    if not name or epoch is None or seq is None:
        raise Malformed("Producer-Id, Producer-Epoch and Producer-Seq go together, and none is empty")
    return Producer(name[:LONGEST], _number(epoch, "Producer-Epoch"), _number(seq, "Producer-Seq"))


def spec_of(headers: Headers) -> StreamSpec:
    """How a PUT wants the stream (§5.1, §4.2).

    Raises:
        Malformed: what it says of time or of its source is wrong.
    """
    ttl, expires = header(headers, b"stream-ttl"), header(headers, b"stream-expires-at")
    if ttl is not None and expires is not None:
        raise Malformed("Stream-TTL and Stream-Expires-At exclude each other")
    source, offset, part = _fork_of(headers)
    kind = header(headers, b"content-type")
    return StreamSpec(
        content_type=normal(kind) if kind else "" if source else "application/octet-stream",
        ttl=None if ttl is None else float(_number(ttl, "Stream-TTL")),
        expires_at=None if expires is None else _moment(expires),
        source=source,
        source_offset=offset,
        source_part=part,
    )


def normal(content_type: str) -> str:
    """A content type as it is stored: JSON without parameters, the type in lower case."""
    kind, semicolon, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    return kind if kind == JSON or not semicolon else f"{kind};{parameters}"


def events_of(content_type: str, body: bytes, *, may_be_empty: bool = False) -> list[NewEvent]:
    """A body as events: bytes are one, JSON one for each element of an array or for the value (§9.1).

    Raises:
        Malformed: no JSON, or an empty array where there must be a message.
    """
    if media_type(content_type) != JSON:
        return [NewEvent(MESSAGE, body)] if body else []
    if not body:
        return []
    try:
        value = _DECODER.decode(body)
        messages = value if isinstance(value, list) else [value]
        packed = [msgspec.Raw(msgspec.msgpack.encode(message)) for message in messages]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise Malformed(f"the body is no JSON: {exc}") from None
    except OverflowError:
        raise Malformed("the body has a whole number of more than 64 bits; send it as text") from None
    if not messages and not may_be_empty:
        raise Malformed("an empty array appends nothing")
    return [NewEvent(MESSAGE, message) for message in packed]


def _fork_of(headers: Headers) -> tuple[str | None, int | None, int]:
    source = header(headers, b"stream-forked-from")
    offset, part = header(headers, b"stream-fork-offset"), header(headers, b"stream-fork-sub-offset")
    if source is None:
        if offset is not None or part is not None:
            raise Malformed("Stream-Fork-Offset and Stream-Fork-Sub-Offset need Stream-Forked-From")
        return None, None, 0
    within = 0 if part is None else _number(part, "Stream-Fork-Sub-Offset")
    if within and offset is None:
        raise Malformed("Stream-Fork-Sub-Offset needs Stream-Fork-Offset")
    at = source.find(PREFIX)
    name = unquote(source[at:].removeprefix(PREFIX) if at >= 0 else source.lstrip("/"))
    return name, None if offset is None else position(offset), within


def _number(text: str, name: str) -> int:
    if not _WHOLE.fullmatch(text) or int(text) > _MOST:
        raise Malformed(f"{name} is to be a whole number from 0 to 2^53-1, not {text[:40]!r}")
    return int(text)


def _moment(text: str) -> float:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise Malformed("Stream-Expires-At is no time as in RFC 3339") from None
    if moment.tzinfo is None:
        raise Malformed("Stream-Expires-At needs a time zone, as in 2030-01-31T12:00:00Z")
    return moment.timestamp()
