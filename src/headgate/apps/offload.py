"""Slow routes as jobs without a change of their code: `Prefer: respond-async` (RFC 7240 §4.1).

A request that prefers so, to a route that allows it, is stored and answered 202 at once; a job worker runs it
through the whole app, middleware, session and all. The job's address tells its progress and then the response as
the view gave it. A route that does not allow it ignores the preference, as the RFC lets a server do.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from headgate.apps.contexts import is_flask
from headgate.apps.environ import EnvironMaker
from headgate.apps.exchange import Exchange
from headgate.apps.failures import report
from headgate.apps.response import CollectedReply
from headgate.base.errors import Full, JobCancelled, JobTimeout
from headgate.base.model import JobState
from headgate.base.offload import FUNCTION, StoredResponse
from headgate.declare import binding
from headgate.declare.context import JobContext
from headgate.declare.extension import OFFLOAD
from headgate.declare.handle import JobHandle
from headgate.declare.job import JobFunction, JobOptions
from headgate.link.messages import Fail, Request, Scope

Headers = list[tuple[bytes, bytes]]

QUEUE: Final = "requests"
"""The queue of offloaded requests, unless the route names another."""
SETTLED: Final = 60.0
"""Seconds that a spooled body is left alone before it is asked whether its job still needs it."""


class StoredRequest(msgspec.Struct, frozen=True, array_like=True):
    """A request as its job carries it; a large body is the file `<folder>/<job id>`."""

    handler: str
    scope: Scope
    body: bytes
    spooled: bool = False


def allowed(app: Any, patterns: Iterable[str], handlers: Iterable[str]) -> dict[str, JobOptions]:
    """Handlers that may run as jobs, with the options of these.

    Args:
        app: a Flask app, whose views may be marked with `@gate.offload`.
        patterns: of handler names, from the setting `offload`: `POST /reports/*`.
        handlers: all of the app.
    """
    default = JobOptions(queue=QUEUE)
    found = {name: default for name in handlers if any(fnmatch.fnmatchcase(name, one) for one in patterns)}
    if is_flask(app):
        for rule in app.url_map.iter_rules():
            options = getattr(app.view_functions.get(rule.endpoint), OFFLOAD, None)
            if options is not None:
                found |= {f"{method} {rule.rule}": options for method in rule.methods or ()}
    return found


def prefers_async(headers: Headers) -> bool:
    """Whether a Prefer header says respond-async (RFC 7240 §2: several, with parameters, in any case)."""
    for name, value in headers:
        if name == b"prefer":
            parts = value.decode("latin-1").lower().split(",")
            if any(part.partition(";")[0].strip() == "respond-async" for part in parts):
                return True
    return False


class Offloader:
    """Turns requests into jobs, in an app worker.

    Args:
        routes: handler → options of its jobs.
        folder: where large bodies are kept.
        clock: seconds, for run times.
    """

    def __init__(
        self, routes: Mapping[str, JobOptions], folder: Path, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._routes = routes
        self._folder = folder
        self._clock = clock

    def takes(self, handler: str, headers: Headers) -> bool:
        """Whether this request is to become a job."""
        return handler in self._routes and prefers_async(headers)

    def run(self, exchange: Exchange, request: Request, handler: str) -> None:
        """Accept one request. Raises nothing."""
        since = self._clock()
        try:
            status, headers, body = self._accepted(self._enqueue(request, handler))
        except Full as exc:
            status, body = 503, {"error": "busy", "message": "Too much work is waiting; try again later."}
            headers = [(b"retry-after", b"%d" % max(1, round(exc.retry_after)))]
        except BaseException as exc:
            error_id = report(exc, exchange.handler)
            exchange.link.send(Fail(exchange.stream, exchange.handler, error_id, self._clock() - since))
            exchange.link.finished(exchange.stream)
            return
        text = msgspec.json.encode(body)
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(text))]
        exchange.head(status, headers, text, False, self._clock() - since)
        exchange.link.finished(exchange.stream)

    def sweep(self) -> None:
        """Delete the bodies whose jobs have ended; called now and then, on a thread."""
        old = time.time() - SETTLED
        for path in self._folder.glob("*"):
            with contextlib.suppress(FileNotFoundError):  # another app worker sweeps too
                if path.stat().st_mtime < old and self._settled(path.name):
                    path.unlink()

    @staticmethod
    def _settled(job_id: str) -> bool:
        """Whether no try can follow: a failed or cancelled job can still be put back by an operator."""
        record = binding.current().engine.get(job_id)
        return record is None or record.state is JobState.SUCCEEDED

    def _enqueue(self, request: Request, handler: str) -> JobHandle:
        stored = msgspec.msgpack.encode(
            StoredRequest(handler, request.scope, request.body, request.body_path is not None)
        )
        options = self._routes[handler]
        spec = options.spec(FUNCTION, msgspec.msgpack.encode([[stored], {}]), options.key, options.idempotency_key)
        kept = None if request.body_path is None else self._keep(request.body_path, spec.id)
        try:
            [receipt] = binding.current().engine.put([spec])
        except BaseException:
            if kept is not None:
                kept.unlink()
            raise
        return JobHandle(receipt.id, receipt.created)

    def _keep(self, path: str, job_id: str) -> Path:
        """Give the body a second name that outlives the request, and have it on disk before the job is accepted."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = self._folder / job_id
        try:
            os.link(path, kept)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, kept)
        os.utime(kept)
        for name in (kept, self._folder):
            number = os.open(name, os.O_RDONLY)
            try:
                os.fsync(number)
            finally:
                os.close(number)
        return kept

    def _accepted(self, handle: JobHandle) -> tuple[int, Headers, Any]:
        url = handle.url
        headers = [
            (b"location", url.encode("latin-1")),
            (b"retry-after", b"1"),
            (b"preference-applied", b"respond-async"),
            (b"vary", b"Prefer"),
        ]
        return 202, headers, {"id": handle.id, "state": "queued", "url": url}


class RequestJob:
    """Runs stored requests, in a job worker.

    Args:
        app: the WSGI callable.
        folder: where large bodies are kept.
    """

    def __init__(self, app: Any, folder: Path) -> None:
        self._app = app
        self._folder = folder
        self._environs = EnvironMaker()

    def function(self) -> JobFunction[Any]:
        """The job function to register under `FUNCTION`."""

        def request(job: JobContext, stored: bytes) -> StoredResponse:
            return self._run(job, msgspec.msgpack.decode(stored, type=StoredRequest))

        return JobFunction(request, FUNCTION)

    def _run(self, job: JobContext, stored: StoredRequest) -> StoredResponse:
        path = self._folder / job.id
        body: bytes | IO[bytes] = path.open("rb") if stored.spooled else stored.body
        try:
            with _Ended(self._app) as ended:
                reply = CollectedReply()
                environ = self._environs.make(stored.scope, body)
                content = reply.body(self._app(environ, reply.start))
            ended.reraise()
            if stored.scope.method == "HEAD":
                content = b""
            return StoredResponse(reply.status, reply.headers, content)
        finally:
            if not isinstance(body, bytes):
                body.close()


class _Ended:
    """Notices that a timeout or a cancellation went through a view, although Flask makes a response of it."""

    def __init__(self, app: Any) -> None:
        self._app = app if is_flask(app) else None
        self._raised: BaseException | None = None

    def __enter__(self) -> _Ended:
        if self._app is not None:
            _got_request_exception().connect(self._note, self._app)
        return self

    def __exit__(self, *_: object) -> None:
        if self._app is not None:
            _got_request_exception().disconnect(self._note, self._app)

    def reraise(self) -> None:
        """Raise it after all."""
        if self._raised is not None:
            raise self._raised

    def _note(self, _sender: Any, exception: BaseException, **_: Any) -> None:
        if isinstance(exception, JobTimeout | JobCancelled):
            self._raised = exception


def _got_request_exception() -> Any:
    from flask import got_request_exception

    return got_request_exception
