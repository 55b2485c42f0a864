"""The access log: one line per request, with the lane, the wait and the run time."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from headgate.gateway.calls import Call
from headgate.gateway.heads import Head
from headgate.gateway.metrics import Metrics

access = logging.getLogger("headgate.access")


class Account:
    """Hears of each request's end.

    Args:
        metrics: counts it.
        log: also write a line.
    """

    def __init__(self, metrics: Metrics, log: bool) -> None:
        self._metrics = metrics
        self._log = log

    def __call__(self, scope: MutableMapping[str, Any], head: Head, call: Call, status: int, sent: int) -> None:
        wait = max(0.0, call.started - call.since) if call.started else 0.0
        self._metrics.request(call.lane, status, wait, call.run, sent)
        if self._log:
            access.info("%s", line(scope, head, call, status, sent, wait))


def line(scope: MutableMapping[str, Any], head: Head, call: Call, status: int, sent: int, wait: float) -> str:
    """One request in logfmt. The target is as it came on the wire, so it holds no spaces and no line ends."""
    target = scope["raw_path"].decode("latin-1")
    if scope["query_string"]:
        target += "?" + scope["query_string"].decode("latin-1")
    client = head.client[0] if head.client else "unix"
    trace = f" traceparent={_plain(head.traceparent)}" if head.traceparent else ""
    return (
        f"{client} {scope['method']} {_plain(target.encode('latin-1'))} status={status} bytes={sent} lane={call.lane} "
        f'wait={wait * 1000:.1f}ms run={call.run * 1000:.1f}ms handler="{call.handler}" id={head.request_id}{trace}'
    )


def _plain(value: bytes) -> str:
    """Printable ASCII without quotes; anything else escaped, so that no client can forge a line."""
    return "".join(chr(byte) if 0x21 <= byte < 0x7F and byte != 0x22 else f"\\x{byte:02x}" for byte in value[:2048])
