"""Following a stream over HTTP, without the network: what is asked, what comes, what to do when it breaks. Pure.

The shells are in `headgate.client`: one for threads, one for event loops.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from headgate.base.errors import HeadgateError, Unavailable, UnknownStream
from headgate.client.wire import Closed, Lines, Refused

FIRST_WAIT: Final = 0.25
LONGEST_WAIT: Final = 8.0
_JOBS: Final = "/-/jobs/"
_STREAMS: Final = "/-/streams/"
_ENVELOPE: Final = frozenset(["offset", "event", "data", "at", "terminal"])
_OFFSET: Final = re.compile("[0-9]{16}")


class Event(NamedTuple):
    """One event. `offset` is what to go on from."""

    offset: str
    kind: str
    data: Any
    at: float | None = None
    terminal: bool = False


class Target:
    """Where a stream is.

    Args:
        address: of the stream, or of a job.
        headers: to be sent along.

    Raises:
        ValueError: it is no absolute address of either.
    """

    def __init__(self, address: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                f"{address!r} is no absolute address: put the server's before it, as in https://host{address}"
            )
        path = parts.path
        if _JOBS in path:  # a job's address is good for its stream too
            path = path.replace(_JOBS, f"{_STREAMS}jobs/", 1)
        if _STREAMS not in path:
            raise ValueError(f"{address!r} is no address of a job (…/-/jobs/…) or of a stream (…/-/streams/…)")
        self.secure = parts.scheme == "https"
        self.host: str = parts.hostname
        self.port = parts.port or (443 if self.secure else 80)
        self.netloc = parts.netloc.rpartition("@")[2]
        self.headers = dict(headers)
        self.is_job = f"{_STREAMS}jobs/" in path
        self._path = path
        self._query = [pair for pair in parse_qsl(parts.query) if pair[0] not in ("offset", "live")]

    def path(self, offset: str) -> str:
        """The request's target for reading on from an offset."""
        return f"{self._path}?{urlencode([*self._query, ('live', 'sse'), ('offset', offset)])}"


class Course:
    """One reading of one stream, over as many connections as it takes.

    Args:
        target: the stream.
        from_: the offset to begin behind.
        patience: seconds of failing before it is given up.
        now: a monotonic clock.
    """

    def __init__(self, target: Target, from_: int | str, patience: float, now: Callable[[], float]) -> None:
        self.target = target
        self.offset = "-1" if str(from_) == "-1" else f"{int(from_):016d}"
        self.done = False
        self._patience = patience
        self._now = now
        self._failures = 0
        self._since: float | None = None
        self._wait = 0.0
        self._lines = Lines()

    def path(self) -> str:
        """The target of the next request."""
        self._lines = Lines()
        return self.target.path(self.offset)

    def headers(self) -> dict[str, str]:
        return {"Accept": "text/event-stream", "Cache-Control": "no-cache", **self.target.headers}

    def reached(self) -> None:
        """The server answers."""
        self._failures, self._since = 0, None

    def feed(self, piece: bytes) -> Iterator[Event]:
        """The events in what came. Raises `HeadgateError` when they are no JSON."""
        for kind, data, offset in self._lines.feed(piece):
            yield from self._take(kind, _decoded(data), offset)
            if self.done:
                return

    def failed(self, error: Exception) -> None:
        """A connection broke or was not to be had. Raises `Unavailable` when it was in vain for too long."""
        if self._since is None:
            self._since = self._now()
        elif self._now() - self._since > self._patience:
            raise Unavailable(
                f"{self.target.netloc} has not answered for {self._patience:g} s ({error}); what came before is yours, "
                f"and offset {self.offset} is where to go on"
            ) from error
        most = min(LONGEST_WAIT, FIRST_WAIT * 2**self._failures)
        self._wait = most * (0.5 + random.random() / 2) if self._failures or not isinstance(error, Closed) else 0.0
        self._failures += 1

    def refused(self, answer: Refused) -> Iterator[Event]:
        """The server said no.

        Raises:
            UnknownStream: for good.
            Unavailable: for too long.
        """
        if answer.status in (404, 410):
            raise UnknownStream(
                f"there is no stream at this address, or its token is not (or no longer) good: {answer}"
            )
        if answer.status < 500 and answer.status != 429:
            raise HeadgateError(f"the server refuses to have the stream read: {answer}")
        self.failed(answer)
        after = answer.headers.get("retry-after", "")
        if after.isdigit():
            self._wait = min(float(after), LONGEST_WAIT)
        yield from ()

    def wait(self) -> float:
        """Seconds until the next connection."""
        wait, self._wait = self._wait, 0.0
        return wait

    def _take(self, kind: str, data: Any, offset: str) -> Iterator[Event]:
        if kind == "data":
            yield from self._messages(data if isinstance(data, list) else [data], offset)
        elif kind == "truncated":
            self.offset = offset
            yield Event(offset, "truncated", data)
        elif kind == "gone":
            self.done = True
            yield Event(self.offset, "gone", data, terminal=True)
        elif kind == "control":
            self.offset = max(self.offset, str(data["streamNextOffset"]))
            self.done = bool(data.get("streamClosed"))

    def _messages(self, messages: list[Any], last: str) -> Iterator[Event]:
        # A bare message does not carry its offset. Those of one piece are one after the other, up to `last`.
        first = int(last) - len(messages) + 1
        for at, message in enumerate(messages, first):
            if self.target.is_job or _is_envelope(message):
                named = (message["offset"], message["event"], message["data"])
                event = Event(*named, message.get("at"), message.get("terminal", False))
            else:
                event = Event(f"{at:016d}", "message", message)
            if event.offset > self.offset:
                self.offset, self.done = event.offset, event.terminal
                yield event


def _is_envelope(message: Any) -> bool:
    """Whether a message is one of Headgate's (an event with a kind of its own) and not a record that looks like it."""
    if not isinstance(message, dict) or not _ENVELOPE - {"terminal"} <= message.keys() <= _ENVELOPE:
        return False
    offset, kind = message["offset"], message["event"]
    return isinstance(offset, str) and _OFFSET.fullmatch(offset) is not None and isinstance(kind, str)


def _decoded(data: str) -> Any:
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError as exc:
        raise HeadgateError(
            f"the stream holds no JSON ({exc}), and only streams of JSON are followed as events: read one of text or "
            "bytes by GET from its address"
        ) from exc
