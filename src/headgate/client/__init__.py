"""Following from outside: a program, not a page, that waits for a job or reads a stream over HTTP.

    from headgate.client import follow, result

    for event in follow("https://shop.example/-/jobs/0192…?token=…"):
        print(event.kind, event.data)
    print(result(address))                    # waits for the job; raises JobFailed

    async for event in afollow(address): …    # the same without blocking the loop
    print(await aresult(address))

An address is that of a job (`handle.url`, the Location of a 202) or of a stream (`handle.stream_url`, `stream.url()`).
Reading survives what lies between: after a cut, a restart or a silence it goes on behind the last event that came.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import ssl
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any, Final

from headgate.base.errors import HeadgateError, JobCancelled, JobFailed, UnknownStream
from headgate.client.course import Course, Event, Target
from headgate.client.wire import Closed, Pieces, Refused

__all__ = ["Event", "afollow", "aresult", "follow", "result"]

SILENCE: Final = 45.0
"""Seconds without a byte after which a connection counts as dead; the server sends a comment every 15."""
PATIENCE: Final = 60.0
"""Seconds for which a server that does not answer is asked again."""
_TROUBLE: Final = (OSError, http.client.HTTPException, Closed, TimeoutError, asyncio.IncompleteReadError)


def follow(
    address: str,
    *,
    from_: int | str = -1,
    headers: Mapping[str, str] | None = None,
    silence: float = SILENCE,
    patience: float = PATIENCE,
) -> Iterator[Event]:
    """Every event of a job or stream after an offset, as they come, to the last one.

    Args:
        address: absolute, with its token (or with `headers` that the app's own hook knows).
        from_: the offset of the last event that is known; -1 is before the first.
        headers: to be sent along.
        silence: seconds without a sign of life after which the connection is made anew.
        patience: seconds of trying in vain before `Unavailable` is raised.

    Yields:
        also an event of kind `truncated`, whose data says why, where events are not kept any more.

    Raises:
        UnknownStream: there is no such stream (any more), or the address is not, or no longer, good.
        Unavailable: the server did not answer for as long as `patience`.
        HeadgateError: the stream holds no JSON, or the server refuses the request.
    """
    course = Course(Target(address, headers or {}), from_, patience, time.monotonic)
    for event in _follow(course, silence, None):
        if event is not None:
            yield event


def result(
    address: str,
    *,
    timeout: float | None = None,
    from_: int | str = -1,
    headers: Mapping[str, str] | None = None,
    silence: float = SILENCE,
    patience: float = PATIENCE,
) -> Any:
    """Wait for a job's result.

    Args:
        address: of the job.
        timeout: seconds; None waits for ever. It holds whatever the server does: is silent, sends only signs of
            life, or cuts every connection.
        from_, headers, silence, patience: as in `follow`.

    Raises:
        JobFailed, JobCancelled: it did not succeed.
        TimeoutError: it has not ended in time (it goes on).
        UnknownStream, Unavailable.
    """
    until = None if timeout is None else time.monotonic() + timeout
    course = Course(Target(address, headers or {}), from_, patience, time.monotonic)
    for event in _follow(course, silence, until):
        if event is not None and event.terminal:
            return _outcome(address, event)
        if until is not None and time.monotonic() > until:
            raise TimeoutError(f"the job has not ended within {timeout} s; it goes on, and can be waited for again")
    raise UnknownStream("the stream has ended without a result: it is no job's")


async def afollow(
    address: str,
    *,
    from_: int | str = -1,
    headers: Mapping[str, str] | None = None,
    silence: float = SILENCE,
    patience: float = PATIENCE,
) -> AsyncGenerator[Event, None]:
    """As `follow`, for an event loop."""
    course = Course(Target(address, headers or {}), from_, patience, time.monotonic)
    while not course.done:
        try:
            async with contextlib.aclosing(_aread(course, silence)) as events:
                async for event in events:
                    yield event
        except Refused as exc:
            for event in course.refused(exc):
                yield event
        except _TROUBLE as exc:
            course.failed(exc)
        if not course.done:
            await asyncio.sleep(course.wait())


async def aresult(address: str, *, timeout: float | None = None, **how: Any) -> Any:  # noqa: ASYNC109 - as result has it
    """As `result`, for an event loop."""
    try:
        async with asyncio.timeout(timeout):
            async with contextlib.aclosing(afollow(address, **how)) as events:
                async for event in events:
                    if event.terminal:
                        return _outcome(address, event)
    except TimeoutError:
        raise TimeoutError(
            f"the job has not ended within {timeout} s; it goes on, and can be waited for again"
        ) from None
    raise UnknownStream("the stream has ended without a result: it is no job's")


def _follow(course: Course, silence: float, until: float | None) -> Iterator[Event | None]:
    """The events, and None after each piece that was read and before each reconnect: a moment to look at the clock."""
    while not course.done:
        try:
            yield from _read(course, silence, until)
        except Refused as exc:
            yield from course.refused(exc)
        except _TROUBLE as exc:
            course.failed(exc)
        if not course.done:
            wait = course.wait()
            time.sleep(min(wait, _left(wait, until)))
            yield None


def _left(most: float, until: float | None) -> float:
    """Seconds for which to wait, never 0: to a socket that means not to wait but to fail."""
    return most if until is None else max(0.001, min(most, until - time.monotonic()))


def _read(course: Course, silence: float, until: float | None) -> Iterator[Event | None]:
    target = course.target
    kind = http.client.HTTPSConnection if target.secure else http.client.HTTPConnection
    connection = kind(target.host, target.port, timeout=_left(silence, until))
    try:
        connection.connect()
        sock = connection.sock  # the connection lets go of it where the answer's end is that of the connection
        connection.request("GET", course.path(), headers=course.headers())
        sock.settimeout(_left(silence, until))
        answer = connection.getresponse()
        if answer.status != 200:
            raise Refused(answer.status, dict(answer.getheaders()), answer.read(65536))
        course.reached()
        while True:
            sock.settimeout(_left(silence, until))
            if not (piece := answer.read1(65536)):
                break
            yield from course.feed(piece)
            yield None
        raise Closed("the server ended the connection")
    finally:
        connection.close()


async def _aread(course: Course, silence: float) -> AsyncGenerator[Event, None]:
    target = course.target
    context = ssl.create_default_context() if target.secure else None
    async with asyncio.timeout(silence):
        reader, writer = await asyncio.open_connection(target.host, target.port, ssl=context)
    pieces = Pieces()
    try:
        writer.write(pieces.request(course.path(), {"Host": target.netloc, **course.headers()}))
        while True:
            async with asyncio.timeout(silence):
                data = await reader.read(65536)
            for piece in pieces.take(data):
                course.reached()
                for event in course.feed(piece):
                    yield event
            if course.done or pieces.over:
                break
        if not course.done:
            raise Closed("the server ended the connection")
    finally:
        writer.transport.abort()


def _outcome(address: str, event: Event) -> Any:
    if event.kind == "result":
        return event.data["result"]
    job = address.partition("?")[0].rpartition("/")[2]
    if event.kind == "cancelled":
        raise JobCancelled(f"job {job} was cancelled")
    if event.kind == "failed":
        raise JobFailed(job, str(event.data.get("type")), str(event.data.get("message")))
    if event.kind == "gone":
        raise UnknownStream(str(event.data.get("reason")))
    raise HeadgateError(f"the stream of job {job} ended with {event.kind!r}, which is no end of a job")
