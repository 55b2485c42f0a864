"""The access log: one line per request and handshake, with the lane, the wait and the run time.

Three forms (`access_log_format`): logfmt among the other lines of the log; `combined`, as Apache and nginx write it,
with our fields behind it; and JSON, an object per line. The last two are bare lines on stderr, for programs.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, MutableMapping
from typing import Any, Final, Literal

import msgspec

from headgate.gateway.calls import Call
from headgate.gateway.handshake import Handshake
from headgate.gateway.heads import Head
from headgate.gateway.lanes import Work
from headgate.gateway.metrics import Metrics

access = logging.getLogger("headgate.access")
bare = logging.getLogger("headgate.access.bare")

Format = Literal["logfmt", "combined", "json"]
OWN: Final = "own"
"""The lane of what a gateway answers itself."""


class Entry(msgspec.Struct, frozen=True):
    """What a line says of one request or handshake; times in seconds."""

    client: str
    method: str
    target: str
    """Printable; as it came on the wire."""
    protocol: str
    status: int
    bytes: int
    lane: str
    wait: float
    run: float
    handler: str
    id: str
    traceparent: str = ""
    referer: str = ""
    agent: str = ""


class Account:
    """Hears of the end of each request and handshake.

    Args:
        metrics: counts it.
        log: also write a line.
        form: how the line looks.
    """

    def __init__(self, metrics: Metrics, log: bool, form: Format = "logfmt") -> None:
        self._metrics = metrics
        self._write = _writer(form) if log else None

    def __call__(self, scope: MutableMapping[str, Any], head: Head, call: Call, status: int, sent: int) -> None:
        """A request for the app has ended."""
        self._account(scope, head, call, call.lane, call.handler, status, sent, call.run)

    def handshake(self, scope: MutableMapping[str, Any], head: Head, handshake: Handshake) -> None:
        """A WebSocket handshake has ended, with 101 or another answer."""
        task, (status, sent) = handshake.task, handshake.answered
        if task is None:  # the app was not asked
            self._account(scope, head, None, OWN, "ws *", status, sent, 0.0)
        else:
            self._account(scope, head, task, task.lane, task.handler, status, sent, task.run)

    def own(self, scope: MutableMapping[str, Any], head: Head, status: int, sent: int, run: float) -> None:
        """The gateway has answered a request itself."""
        self._account(scope, head, None, OWN, f"{scope['method']} -", status, sent, run)

    def _account(
        self,
        scope: MutableMapping[str, Any],
        head: Head,
        work: Work | None,
        lane: str,
        handler: str,
        status: int,
        sent: int,
        run: float,
    ) -> None:
        wait = max(0.0, work.started - work.since) if work is not None and work.started else 0.0
        self._metrics.request(lane, status, wait, run, sent)
        if self._write is not None:
            self._write(entry(scope, head, lane, handler, status, sent, wait, run))


def entry(
    scope: MutableMapping[str, Any],
    head: Head,
    lane: str,
    handler: str,
    status: int,
    sent: int,
    wait: float,
    run: float,
) -> Entry:
    """What is to be said of a request; nothing in it can end a line or a quotation."""
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    said = {name: value for name, value in scope["headers"] if name in (b"referer", b"user-agent")}
    return Entry(
        head.client[0] if head.client else "unix",
        _plain(scope["method"].encode("latin-1")),
        _plain(target),
        f"HTTP/{scope.get('http_version', '1.1')}",
        status,
        sent,
        lane,
        round(wait, 6),
        round(run, 6),
        handler.replace('"', "'"),
        head.request_id,
        _plain(head.traceparent),
        _plain(said.get(b"referer", b"")),
        _plain(said.get(b"user-agent", b""), spaces=True),
    )


def logfmt(one: Entry) -> str:
    trace = f" traceparent={one.traceparent}" if one.traceparent else ""
    return (
        f"{one.client} {one.method} {one.target} status={one.status} bytes={one.bytes} lane={one.lane} "
        f'wait={one.wait * 1000:.1f}ms run={one.run * 1000:.1f}ms handler="{one.handler}" id={one.id}{trace}'
    )


def combined(one: Entry) -> str:
    """The combined format (https://httpd.apache.org/docs/current/logs.html#combined), and our fields."""
    when = time.strftime("%d/%b/%Y:%H:%M:%S %z")
    return (
        f'{one.client} - - [{when}] "{one.method} {one.target} {one.protocol}" {one.status} {one.bytes} '
        f'"{one.referer or "-"}" "{one.agent or "-"}" lane={one.lane} wait={one.wait:.6f} run={one.run:.6f} '
        f'handler="{one.handler}" id={one.id} traceparent={one.traceparent or "-"}'
    )


def as_json(one: Entry) -> str:
    return msgspec.json.encode({"time": round(time.time(), 3), **msgspec.structs.asdict(one)}).decode()


def _writer(form: Format) -> Callable[[Entry], None]:
    if form == "logfmt":
        return lambda one: access.info("%s", logfmt(one))
    if not any(isinstance(handler, _Lines) for handler in bare.handlers):
        bare.addHandler(_Lines())
        bare.propagate = False
        bare.setLevel(logging.INFO)
    shape = combined if form == "combined" else as_json
    return lambda one: bare.info("%s", shape(one))


class _Lines(logging.Handler):
    """Messages as they are, on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(record.getMessage() + "\n")
            sys.stderr.flush()
        except OSError:  # whoever read it is gone: a request does not fail for that
            self.handleError(record)


def _plain(value: bytes, *, spaces: bool = False) -> str:
    """Printable ASCII without quotes; anything else escaped, so that no client can forge a line."""
    least = 0x20 if spaces else 0x21
    return "".join(chr(byte) if least <= byte < 0x7F and byte != 0x22 else f"\\x{byte:02x}" for byte in value[:2048])
