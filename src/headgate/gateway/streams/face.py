"""The Durable Streams protocol below `/-/streams/`: who may, what is asked, what the engine says, as HTTP.

Everything is answered by the gateway. An app worker is asked at most whether a client may, and is held by nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

from headgate.base.errors import BadOffset, HeadgateError, StreamConflict, TooLarge, UnknownStream
from headgate.base.ports import Engine
from headgate.base.streams import JSON, Outcome, Producer, StreamInfo, StreamSpec, Write, Written, media_type
from headgate.gateway import bodies
from headgate.gateway.bodies import Pace
from headgate.gateway.heads import BadHead
from headgate.gateway.pages import Page
from headgate.gateway.streams import asked, shown
from headgate.gateway.streams.access import READ, WRITE, Access, NoAnswer
from headgate.gateway.streams.asked import Malformed, Query
from headgate.gateway.streams.reading import Reading
from headgate.gateway.streams.sse import EventStream
from headgate.gateway.web import Message, Receive, Send, Web

log = logging.getLogger("headgate.gateway")

MOST_BODY: Final = 8 * 1024 * 1024
"""Bytes of one append."""
JOBS: Final = "jobs/"
_RIGHTS: Final = {"GET": READ, "HEAD": READ, "PUT": WRITE, "POST": WRITE, "DELETE": WRITE}
Answered = Callable[[Message, int, int], None]


class Face:
    """Answers requests for streams.

    Args:
        engine: the engine, or None while it is away.
        access: who may.
        reading: how they are read.
        web: knows how a request came to us.
        pace: at which the body of a write must come.
    """

    def __init__(
        self,
        engine: Callable[[], Engine | None],
        access: Access,
        reading: Reading,
        web: Web,
        *,
        pace: Pace,
    ) -> None:
        self._pace = pace
        self._engine = engine
        self._access = access
        self._reading = reading
        self._web = web

    @property
    def readers(self) -> int:
        """Clients that wait for events now."""
        return len(self._reading.readers)

    def stop(self) -> None:
        """End all live reads: their clients come back to another gateway, or to the next one here."""
        for reader in list(self._reading.readers):
            reader.stop()

    async def answer(self, scope: Message, receive: Receive, send: Send) -> tuple[int, int]:
        """One request; returns its status and the bytes of its body."""
        try:
            told = await self._answer(scope, receive, send)
        except Malformed as exc:
            told = shown.refusal(400, "malformed", f"{exc}.")
        except UnknownStream:
            told = _NOT_FOUND
        except BadOffset as exc:
            told = shown.refusal(400, "bad_offset", f"{exc}.")
        except StreamConflict as exc:
            told = shown.refusal(409, "conflict", f"{exc}.")
        except TooLarge as exc:
            told = shown.refusal(413, "too_large", f"{exc}.")
        except NoAnswer as exc:
            told = shown.refusal(503, "busy", f"{exc}.", retry_after=1)
        except HeadgateError as exc:
            log.warning("a request for %s failed: %s", scope["path"], exc)
            told = _AWAY
        if isinstance(told, int):
            return 200, told
        await send({"type": "http.response.start", "status": told.status, "headers": told.headers})
        body = b"" if scope["method"] == "HEAD" else told.body
        await send({"type": "http.response.body", "body": body})
        return told.status, len(body)

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> Page | int:
        method = scope["method"]
        if method == "OPTIONS":
            return shown.PREFLIGHT
        right = _RIGHTS.get(method)
        if right is None:
            return _METHOD
        name = asked.name_of(scope["path"])
        by_token = self._access.by_token(scope, name or "", right, asked.token_of(scope["query_string"]))
        if name is None or not (by_token or await self._access.by_app(scope, name, right)):
            return _NOT_FOUND
        engine = self._engine()
        if engine is None:
            return _AWAY
        if right == WRITE:
            if name.startswith(JOBS):
                return _JOBS_OWN
            return await self._change(engine, scope, receive, name)
        # Who holds the address may read, so whoever gets the same address may be given the same answer.
        # A token in a header is no part of the address: a shared cache must not give the answer to the next one.
        in_address = bool(asked.token_of(scope["query_string"]))
        return await self._read(engine, scope, send, name, "public" if by_token and in_address else "private")

    # reading

    async def _read(self, engine: Engine, scope: Message, send: Send, name: str, kept: str) -> Page | int:
        headers = scope["headers"]
        query = asked.query_of(scope["query_string"])
        query = _resumed(query, asked.header(headers, asked.LAST_EVENT))
        head = scope["method"] == "HEAD"
        info = await engine.streams.info(name, touch=not head)
        if info is None:
            return _NOT_FOUND
        if info.deleted:
            return _GONE
        if head:
            return self._reading.head(info)
        if query.live == "sse":
            stream = EventStream(self._reading, engine.streams, info, query.cursor)
            return await stream.run(scope, send, asked.position(query.offset))
        known = (asked.header(headers, b"if-none-match") or "").encode("latin-1")
        return await self._reading.answer(engine.streams, info, query, known, kept)

    # writing

    async def _change(self, engine: Engine, scope: Message, receive: Receive, name: str) -> Page:
        if scope["method"] == "DELETE":
            return await self._delete(engine, name)
        headers = scope["headers"]
        try:
            body = await bodies.whole(receive, MOST_BODY, self._pace)
        except bodies.TooSlow:
            return _LATE
        except bodies.Disconnected as exc:
            raise Malformed(str(exc)) from None
        except bodies.TooLarge as exc:
            raise TooLarge(f"the body has {exc}, which is what one append may have; send it in parts") from None
        if scope["method"] == "PUT":
            return await self._create(engine, scope, name, body)
        return await self._append(engine, headers, name, body)

    async def _may_read(self, scope: Message, name: str) -> bool:
        """Whether who makes a fork may read what it copies."""
        token = asked.token_of(scope["query_string"])
        return self._access.by_token(scope, name, READ, token) or await self._access.by_app(scope, name, READ)

    async def _create(self, engine: Engine, scope: Message, name: str, body: bytes) -> Page:
        headers = scope["headers"]
        spec, close = asked.spec_of(headers), asked.closes(headers)
        if spec.source is not None and not await self._may_read(scope, spec.source):
            return _NOT_FOUND
        kind = spec.content_type
        if not kind and body:  # a fork has its source's type, and the body is read by it
            source = await engine.streams.info(spec.source or "")
            kind = source.spec.content_type if source is not None else JSON
        write = Write(events=asked.events_of(kind, body, may_be_empty=True), close=close)
        info, made = await engine.streams.create(name, spec, write)
        if not made and not _same(info, spec, close):
            return _OTHER
        extra = [*shown.timed(info.spec), (b"content-length", b"0")]
        if made:
            extra.append((b"location", self._address(scope, name)))
        return Page(201 if made else 200, [*shown.described(info), *extra], b"")

    async def _append(self, engine: Engine, headers: asked.Headers, name: str, body: bytes) -> Page:
        producer, close = asked.producer_of(headers), asked.closes(headers)
        kind = asked.header(headers, b"content-type")
        if not body and not close:
            return shown.refusal(400, "empty", "There is nothing to append: a body, or Stream-Closed: true, is needed.")
        if body and not kind:
            return shown.refusal(400, "no_content_type", "Say the stream's content type in Content-Type.")
        info = await engine.streams.info(name)
        if info is None:
            return _NOT_FOUND
        if info.deleted:
            return _GONE
        write = Write(
            events=_events(info, kind or "", body),
            close=close,
            content_type=kind if body else None,
            producer=producer,
            seq=asked.header(headers, b"stream-seq"),
        )
        return _wrote(await engine.streams.write(name, write), producer, bool(body))

    async def _delete(self, engine: Engine, name: str) -> Page:
        info = await engine.streams.info(name)
        if info is not None and info.deleted:
            return _GONE
        await engine.streams.delete(name)
        return Page(204, [*shown.ALWAYS, (b"cache-control", b"no-store")], b"")

    def _address(self, scope: Message, name: str) -> bytes:
        try:
            scheme = self._web.read_head(scope).scheme
        except BadHead:
            scheme = "http"
        host = asked.header(scope["headers"], b"host") or "localhost"
        return f"{scheme}://{host}{self._web.root_path}{asked.PREFIX}{quote(name)}".encode("latin-1", "replace")


def _events(info: StreamInfo, kind: str, body: bytes) -> list[Any]:
    """The body as events. What is refused for another reason need not be readable as this stream's."""
    if info.ended or media_type(kind) != media_type(info.spec.content_type):
        return asked.events_of("application/octet-stream", body)
    return asked.events_of(info.spec.content_type, body)


def _resumed(query: Query, last: str | None) -> Query:
    """A browser's own way of coming back: what it has seen last is newer than what its address says."""
    if query.live != "sse" or not last:
        return query
    asked.position(last)
    return Query(last, query.live, query.cursor, query.token)


def _same(info: StreamInfo, spec: StreamSpec, close: bool) -> bool:
    """Whether a stream is as a PUT asks for it (§5.1)."""
    has = info.spec
    fork = (has.source, has.source_offset, has.source_part) == (spec.source, spec.source_offset, spec.source_part)
    kind = not spec.content_type or media_type(spec.content_type) == media_type(has.content_type)
    inherits = spec.source is not None and spec.ttl is None and spec.expires_at is None
    return (
        fork and kind and (inherits or (has.ttl, has.expires_at) == (spec.ttl, spec.expires_at)) and info.ended == close
    )


def _wrote(written: Written, producer: Producer | None, data: bool) -> Page:
    """The answer to an append (§5.2)."""
    headers = [*shown.ALWAYS, (b"stream-next-offset", shown.told(written.last)), (b"cache-control", b"no-store")]
    if written.ended:
        headers.append((b"stream-closed", b"true"))
    match written.outcome:
        case Outcome.APPENDED | Outcome.DUPLICATE:
            new = written.outcome is Outcome.APPENDED and data and producer is not None
            if producer is not None:
                seq = max(written.seq, 0)
                headers += [(b"producer-epoch", b"%d" % producer.epoch), (b"producer-seq", b"%d" % seq)]
            return Page(200, [*headers, (b"content-length", b"0")], b"") if new else Page(204, headers, b"")
        case Outcome.STALE:
            told = (b"producer-epoch", b"%d" % written.epoch)
            return shown.refusal(403, "stale_epoch", "A newer epoch of this producer has begun.", headers=[told])
        case Outcome.GAP:
            received = producer.seq if producer is not None else 0
            gap = [(b"producer-expected-seq", b"%d" % (written.seq + 1)), (b"producer-received-seq", b"%d" % received)]
            return shown.refusal(409, "gap", "An append of this producer before this one is missing.", headers=gap)
        case Outcome.BAD_START:
            return shown.refusal(400, "bad_start", "A new epoch of a producer begins with Producer-Seq: 0.")
        case Outcome.ENDED:
            end = headers[len(shown.ALWAYS) :]
            return shown.refusal(409, "closed", "The stream is closed: nothing can be appended.", headers=end)
        case Outcome.MISMATCH:
            return shown.refusal(409, "content_type", "The stream has another content type.")
        case Outcome.BEHIND:
            return shown.refusal(409, "sequence", "Stream-Seq is not greater than that of the append before.")


_NOT_FOUND: Final = shown.refusal(
    404, "not_found", "There is no such stream, or this is not an address that may see it."
)
_GONE: Final = shown.refusal(410, "deleted", "The stream was deleted.")
_OTHER: Final = shown.refusal(409, "exists", "There is a stream of this name, and it is not as asked for.")
_AWAY: Final = shown.refusal(503, "engine_away", "The broker does not answer at the moment: try again.", retry_after=1)
_LATE: Final = shown.refusal(
    408,
    "upload_too_slow",
    "The body did not come in time: send it in smaller parts.",
    headers=[(b"connection", b"close")],
)
_JOBS_OWN: Final = shown.refusal(
    405, "jobs_own", "Only the job itself writes to its stream.", headers=[(b"allow", b"GET, HEAD, OPTIONS")]
)
_METHOD: Final = shown.refusal(
    405,
    "method_not_allowed",
    "A stream takes GET, HEAD, PUT, POST and DELETE.",
    headers=[(b"allow", b"GET, HEAD, PUT, POST, DELETE, OPTIONS")],
)
