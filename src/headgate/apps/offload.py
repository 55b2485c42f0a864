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
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from headgate.apps.exchange import ClientGone, Exchange
from headgate.apps.failures import report
from headgate.apps.plan import WorkerPlan
from headgate.apps.starlette_routes import endpoints
from headgate.base.errors import Full, HeadgateError
from headgate.base.model import JobState
from headgate.base.offload import FUNCTION, StoredResponse
from headgate.declare import binding
from headgate.declare.extension import OFFLOAD
from headgate.declare.handle import JobHandle
from headgate.declare.job import JobOptions
from headgate.link.messages import Fail, Request, Scope

Headers = list[tuple[bytes, bytes]]

QUEUE: Final = "requests"
"""The queue of offloaded requests, unless the route names another."""
METHODS: Final = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
INLINE: Final = 256 << 10
"""Bytes of a body that travel with the job; what is larger is kept as a file."""
LONGEST_WAIT: Final = 30.0
"""Seconds that `wait=` may hold a handler's place at most."""
SWEEP_EVERY: Final = 60.0
"""Seconds between two looks for bodies of offloaded requests that nobody needs any more."""
SETTLED: Final = 60.0
"""Seconds that a spooled body is left alone before it is asked whether its job still needs it."""


class StoredRequest(msgspec.Struct, frozen=True, array_like=True):
    """A request as its job carries it; a large body is the file `<folder>/<job id>`."""

    handler: str
    scope: Scope
    body: bytes
    spooled: bool = False


class Wish(msgspec.Struct, frozen=True):
    """What a Prefer header asks for (RFC 7240 §4.1, §4.3)."""

    wait: float = 0.0
    """Seconds that the client would rather wait for the response than be told where it will be."""

    @property
    def label(self) -> str:
        """Added to the handler's name: accepting a request is quick whatever the view is, waiting for it is not."""
        return "respond-async, wait" if self.wait else "respond-async"


PLAIN: Final = Wish()


def allowed(app: Any, patterns: Iterable[str], handlers: Iterable[str]) -> dict[str, JobOptions]:
    """Handlers that may run as jobs, with the options of these.

    Args:
        app: the app, whose views may be marked with `@gate.offload` where it shows them (Flask, Quart, Starlette).
        patterns: of handler names, from the setting `offload`: `POST /reports/*`.
        handlers: all of the app; of one that shows none, every request is of `<method> *`.
    """
    default = JobOptions(queue=QUEUE)
    shown = list(handlers) or [f"{method} *" for method in METHODS]
    found = {name: default for name in shown if any(fnmatch.fnmatchcase(name, one) for one in patterns)}
    return found | dict(_marked(app))


def _marked(app: Any) -> Iterator[tuple[str, JobOptions]]:
    if hasattr(app, "url_map") and hasattr(app, "view_functions"):
        for rule in app.url_map.iter_rules():
            options = getattr(app.view_functions.get(rule.endpoint), OFFLOAD, None)
            if options is not None:
                yield from ((f"{method} {rule.rule}", options) for method in rule.methods or ())
    elif isinstance(getattr(app, "routes", None), list):
        for route, name in endpoints(app.routes):
            options = getattr(getattr(route, "endpoint", None), OFFLOAD, None)
            if options is not None:
                yield name, options


def wish_of(headers: Headers) -> Wish | None:
    """What the Prefer headers say of respond-async (RFC 7240 §2: several, with parameters, in any case)."""
    asks, wait = False, 0.0
    for name, value in headers:
        if name != b"prefer":
            continue
        for part in value.decode("latin-1").lower().split(","):
            key, _, given = part.partition(";")[0].strip().partition("=")
            asks = asks or key.strip() == "respond-async"
            if key.strip() == "wait" and given.strip(' "').isdigit():
                wait = min(LONGEST_WAIT, float(given.strip(' "')))
    return Wish(wait) if asks else None


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

    def wish(self, handler: str, headers: Headers) -> Wish | None:
        """What is wished for, if this request is to become a job."""
        return wish_of(headers) if handler in self._routes else None

    def run(self, exchange: Exchange, request: Request, handler: str, wish: Wish = PLAIN) -> None:
        """Accept one request, and wait for its response if that is wished for. Raises nothing."""
        since = self._clock()
        try:
            handle = self._enqueue(request, handler)
            stored = self._awaited(exchange, handle, wish.wait) if wish.wait else None
            answer = self._accepted(handle) if stored is None else _given(stored, wish)
        except Full as exc:
            answer = _busy(exc)
        except BaseException as exc:
            error_id = report(exc, exchange.handler)
            exchange.link.send(Fail(exchange.stream, exchange.handler, error_id, self._clock() - since))
            exchange.link.finished(exchange.stream)
            return
        with contextlib.suppress(ClientGone):  # the job's address has it, for whoever asks again
            exchange.head(answer.status, answer.headers, answer.body, False, self._clock() - since)
        exchange.link.finished(exchange.stream)

    def _awaited(self, exchange: Exchange, handle: JobHandle, seconds: float) -> StoredResponse | None:
        """Wait for the response; None if it is not there in time, or the job did not succeed."""
        with contextlib.suppress(TimeoutError, HeadgateError):
            for event in binding.current().engine.follow(handle.stream, until=time.monotonic() + seconds):
                if event.terminal or exchange.cancelled:
                    break
        record = handle.get()
        if record.state is not JobState.SUCCEEDED or record.result is None:
            return None
        return msgspec.msgpack.decode(record.result, type=StoredResponse)

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
        apart = request.body_path is not None or len(request.body) > INLINE
        stored = msgspec.msgpack.encode(StoredRequest(handler, request.scope, b"" if apart else request.body, apart))
        options = self._routes[handler]
        spec = options.spec(FUNCTION, msgspec.msgpack.encode([[stored], {}]), options.key, options.idempotency_key)
        kept = self._keep(request, spec.id) if apart else None
        try:
            [receipt] = binding.current().engine.put([spec])
        except BaseException:
            if kept is not None:
                kept.unlink()
            raise
        return JobHandle(receipt.id, receipt.created)

    def _keep(self, request: Request, job_id: str) -> Path:
        """Give the body a second name that outlives the request, and have it on disk before the job is accepted."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = self._folder / job_id
        if request.body_path is None:
            kept.write_bytes(request.body)
        else:
            try:
                os.link(request.body_path, kept)
            except OSError:  # a file system without hard links
                shutil.copyfile(request.body_path, kept)
        os.utime(kept)
        for name in (kept, self._folder):
            number = os.open(name, os.O_RDONLY)
            try:
                os.fsync(number)
            finally:
                os.close(number)
        return kept

    def _accepted(self, handle: JobHandle) -> StoredResponse:
        url = handle.url
        headers = [
            (b"location", url.encode("latin-1")),
            (b"retry-after", b"1"),
            (b"preference-applied", b"respond-async"),
            (b"vary", b"Prefer"),
        ]
        return _told(202, headers, {"id": handle.id, "state": "queued", "url": url})


def _given(stored: StoredResponse, wish: Wish) -> StoredResponse:
    """The view's own response, and that it was waited for."""
    applied = [(b"preference-applied", b"wait=%d" % wish.wait), (b"vary", b"Prefer")]
    return StoredResponse(stored.status, [*stored.headers, *applied], stored.body)


def _busy(exc: Full) -> StoredResponse:
    headers = [(b"retry-after", b"%d" % max(1, round(exc.retry_after)))]
    return _told(503, headers, {"error": "busy", "message": "Too much work is waiting; try again later."})


def _told(status: int, headers: Headers, body: Any) -> StoredResponse:
    text = msgspec.json.encode(body)
    about = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(text))]
    return StoredResponse(status, [*headers, *about], text)


class Sweeps:
    """When an app worker is to look for bodies that nobody needs any more: one lane does, once a minute."""

    def __init__(self, plan: WorkerPlan) -> None:
        self._wanted = bool(plan.bodies) and plan.lane == "slow"
        self._last = 0.0

    def due(self) -> bool:
        """Whether it is time."""
        now = time.monotonic()
        if not self._wanted or now - self._last <= SWEEP_EVERY:
            return False
        self._last = now
        return True
