"""Running requests that were stored as jobs, through the whole app, in a job worker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from headgate.apps.asgi import AsgiApp, AsgiViolation, Event, http_scope
from headgate.apps.contexts import is_flask
from headgate.apps.environ import EnvironMaker
from headgate.apps.lifespan import Lifespan
from headgate.apps.offload import StoredRequest
from headgate.apps.response import CollectedReply
from headgate.base.errors import JobCancelled, JobTimeout
from headgate.base.offload import FUNCTION, StoredResponse
from headgate.declare.context import JobContext
from headgate.declare.job import JobFunction

log = logging.getLogger("headgate.app")

BLOCK: Final = 256 << 10
"""Bytes of a body that an ASGI app is given at once."""
SHUTDOWN: Final = 5.0
"""Seconds for the app's shutdown after a request that ran as a job."""


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
        with _body(self._folder / job.id, stored) as body:
            with _Ended(self._app) as ended:
                reply = CollectedReply()
                environ = self._environs.make(stored.scope, body)
                content = reply.body(self._app(environ, reply.start))
            ended.reraise()
            if stored.scope.method == "HEAD":
                content = b""
            return StoredResponse(reply.status, reply.headers, content)


class AsgiRequestJob:
    """The same for an ASGI app. Each such request has the app's lifespan to itself: its start-up before, its shutdown
    after, on a loop of its own, which a timeout may end without harm to the next.

    Args:
        app: the ASGI app.
        folder: where large bodies are kept.
    """

    def __init__(self, app: AsgiApp, folder: Path) -> None:
        self._app = app
        self._folder = folder

    def function(self) -> JobFunction[Any]:
        """The job function to register under `FUNCTION`."""

        async def request(job: JobContext, stored: bytes) -> StoredResponse:
            return await self._run(job, msgspec.msgpack.decode(stored, type=StoredRequest))

        return JobFunction(request, FUNCTION)

    async def _run(self, job: JobContext, stored: StoredRequest) -> StoredResponse:
        lifespan = Lifespan(self._app)
        await lifespan.start()
        try:
            with _body(self._folder / job.id, stored) as body:
                return await self._answer(stored, body, lifespan.state)
        finally:
            await lifespan.stop(SHUTDOWN)

    async def _answer(self, stored: StoredRequest, body: bytes | IO[bytes], state: dict[str, Any]) -> StoredResponse:
        call = _Call(body)
        try:
            await self._app(http_scope(stored.scope, state), call.receive, call.send)
        except Exception:
            # Starlette answers 500 and raises on, for the server's log; without an answer it is the job that failed.
            if not call.complete:
                raise
            log.exception("%s raised after its response was complete", stored.handler)
        if not call.complete:
            raise AsgiViolation("the app returned before its response was complete")
        content = b"" if stored.scope.method == "HEAD" else b"".join(call.body)
        return StoredResponse(call.status, call.headers, content)


class _Call:
    """`receive` and `send` of one request whose response is collected."""

    def __init__(self, body: bytes | IO[bytes]) -> None:
        self._given = body
        self._asked = False
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []
        self.complete = False

    async def receive(self) -> Event:
        if self._asked:
            # Nobody hangs up on a job: whoever listens for that waits until the request has ended.
            await asyncio.get_running_loop().create_future()
        if isinstance(self._given, bytes):
            self._asked = True
            return {"type": "http.request", "body": self._given, "more_body": False}
        block = self._given.read(BLOCK)
        self._asked = len(block) < BLOCK
        return {"type": "http.request", "body": block, "more_body": not self._asked}

    async def send(self, event: Event) -> None:
        if event["type"] == "http.response.start" and not self.status:
            self.status = event["status"]
            self.headers = [(bytes(name).lower(), bytes(value)) for name, value in event.get("headers", ())]
        elif event["type"] == "http.response.body" and self.status and not self.complete:
            self.body.append(bytes(event.get("body", b"")))
            self.complete = not event.get("more_body", False)
        else:
            raise AsgiViolation(f"{event['type']} cannot be sent now (ASGI HTTP specification)")


@contextmanager
def _body(kept: Path, stored: StoredRequest) -> Iterator[bytes | IO[bytes]]:
    if not stored.spooled:
        yield stored.body
        return
    with kept.open("rb") as file:
        yield file


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
