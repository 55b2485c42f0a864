"""The gateway's own addresses, below `/-/`: health, and the state of jobs for who holds a signed URL."""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec

from headgate.base import offload
from headgate.base.errors import HeadgateError, UnknownJob, WrongState
from headgate.base.model import JobRecord, JobState
from headgate.base.ports import Engine
from headgate.base.tokens import Tokens
from headgate.gateway.heads import outgoing
from headgate.gateway.pages import Page, json_page, page

log = logging.getLogger("headgate.gateway")

PREFIX: Final = "/-/"
LONGEST_ID: Final = 64


class Own:
    """Answers what is below `/-/`.

    Args:
        engine: the engine, or None while it is away.
        ready: says why the gateway is not ready, or None when it is.
        tokens: checks signed URLs.
    """

    def __init__(self, engine: Callable[[], Engine | None], ready: Callable[[], str | None], tokens: Tokens) -> None:
        self._engine = engine
        self._ready = ready
        self._tokens = tokens

    async def answer(self, method: str, path: str, query: dict[str, str], etag: bytes) -> Page:
        """The response to one request; `etag` is its If-None-Match."""
        if path == "/-/live":
            return json_page(200, {"live": True})
        if path == "/-/ready":
            why = self._ready()
            if why is None:
                return json_page(200, {"ready": True})
            return json_page(503, {"ready": False, "message": why}, retry_after=1)
        if path in CLIENT:
            return _client(method, CLIENT[path], etag)
        if path.startswith("/-/jobs/"):
            return await self._job(method, path.removeprefix("/-/jobs/"), query.get("token", ""), etag)
        return _NOT_FOUND

    async def _job(self, method: str, job_id: str, token: str, etag: bytes) -> Page:
        if len(job_id) > LONGEST_ID or not self._tokens.allows(token, "job", job_id):
            return _NOT_FOUND
        if method not in ("GET", "HEAD", "DELETE"):
            return page(405, "method_not_allowed", "A job can be read (GET) and cancelled (DELETE).", headers=_ALLOW)
        engine = self._engine()
        if engine is None:
            return _AWAY
        try:
            if method == "DELETE":
                return await self._cancel(engine, job_id)
            record = await engine.jobs.get(job_id)
        except HeadgateError as exc:
            log.warning("the state of job %s cannot be read: %s", job_id, exc)
            return _AWAY
        if record is None:
            return _NOT_FOUND
        stored = _stored_response(record)
        return _state_page(record, etag) if stored is None else stored

    async def _cancel(self, engine: Engine, job_id: str) -> Page:
        try:
            state = await engine.jobs.cancel(job_id)
        except UnknownJob:
            return _NOT_FOUND
        except WrongState as exc:
            return page(409, "wrong_state", str(exc))
        status = 200 if state == JobState.CANCELLED else 202
        return json_page(status, {"id": job_id, "state": str(state), "cancel_requested": True})


CLIENT: Final = {"/-/client.js": ("client.js", b"text/javascript"), "/-/client.d.ts": ("headgate.d.ts", b"text/plain")}
"""The browser client and its types: file and content type."""


@functools.cache
def _file(name: str) -> tuple[bytes, bytes]:
    body = (importlib.resources.files("headgate.gateway") / "static" / name).read_bytes()
    return body, b'"%s"' % hashlib.blake2s(body, digest_size=12).hexdigest().encode()


def _client(method: str, file: tuple[str, bytes], known: bytes) -> Page:
    """A file of the browser client; kept for a while, then asked for again by its tag."""
    if method not in ("GET", "HEAD"):
        return page(405, "method_not_allowed", "The client can be read.", headers=((b"allow", b"GET, HEAD"),))
    body, etag = _file(file[0])
    headers = [
        (b"etag", etag),
        (b"cache-control", b"public, max-age=300"),
        (b"access-control-allow-origin", b"*"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if etag in known:
        return Page(304, headers, b"")
    headers += [(b"content-type", file[1] + b"; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    return Page(200, headers, body)


def job_state(record: JobRecord) -> dict[str, Any]:
    """A job as its URL shows it; no traceback."""
    state: dict[str, Any] = {
        "id": record.id,
        "state": str(record.state),
        "function": record.spec.function,
        "queue": record.spec.queue,
        "tries": record.tries,
        "enqueued_at": record.enqueued_at,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
        "progress": record.progress,
        "cancel_requested": record.cancel_requested,
        "result": None,
        "failure": None,
    }
    if record.result is not None:
        state["result"] = msgspec.msgpack.decode(record.result)
    if record.failure is not None:
        state["failure"] = {"type": record.failure.type, "message": record.failure.message}
    return state


def _stored_response(record: JobRecord) -> Page | None:
    """The response of a request that ran as a job (RFC 7240 §4.1), as its view gave it; None for other jobs."""
    if record.spec.function != offload.FUNCTION or record.result is None:
        return None
    stored = msgspec.msgpack.decode(record.result, type=offload.StoredResponse)
    headers = [pair for pair in outgoing(stored.headers) if pair[0] != b"content-length"]
    if stored.status != 204:
        headers.append((b"content-length", b"%d" % len(stored.body)))
    return Page(stored.status, headers, stored.body)


def _state_page(record: JobRecord, known: bytes) -> Page:
    body = msgspec.json.encode(job_state(record), enc_hook=str) + b"\n"
    etag = b'"%s"' % hashlib.blake2s(body, digest_size=12).hexdigest().encode()
    headers = [(b"etag", etag), (b"cache-control", b"private, no-cache")]
    if not record.state.terminal:
        headers.append((b"retry-after", b"1"))
    if etag in known or known == b"*":
        return Page(304, headers, b"")
    headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    return Page(200, headers, body)


_ALLOW: Final = ((b"allow", b"GET, HEAD, DELETE"),)
_NOT_FOUND: Final = page(404, "not_found", "There is nothing at this address, or its token is not (or no longer) good.")
_AWAY: Final = page(503, "engine_away", "The broker does not answer at the moment: try again.", retry_after=1)
