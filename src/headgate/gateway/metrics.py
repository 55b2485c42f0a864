"""The gateway's metrics in Prometheus' text format, on a listener of their own (never the public one).

https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4. Labels are lanes and status classes
only: handler names would be as many as the app has routes and events.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

log = logging.getLogger("headgate.gateway")

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds in seconds."""
COUNTERS: Final = frozenset(
    [
        "turned_away",
        "stalled_responses",
        "bad_proxy_headers",
        "failed_tls_handshakes",
        "handed_over",
        "refused_handshakes",
        "closed_slow",
        "closed_silent",
        "closed_broken",
        "closed_too_big",
        "evicted",
        "dropped_messages",
        "bounced",
        "lost",
        "expired",
        "socketio_opened",
        "socketio_refused",
        "socketio_emits",
        "socketio_delivered",
        "socketio_dropped",
        "socketio_closed_slow",
        "socketio_events_lost",
        "socketio_recovered",
        "socketio_not_recovered",
        "socketio_forwarded",
    ]
)
"""Of the report's numbers, those that only grow; the others are gauges."""
_READ: Final = 8192


class Figures(Protocol):
    """Where the numbers come from (`report.Report`)."""

    def numbers(self) -> Mapping[str, int]: ...

    def limited(self) -> Mapping[str, int]: ...

    def lanes(self) -> Mapping[str, Mapping[str, Any]]: ...


class Histogram:
    """How often a duration fell into each bucket."""

    __slots__ = ("_counts", "total")

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect.bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds

    def lines(self, name: str, labels: str) -> list[str]:
        out, below = [], 0
        for bound, count in zip(BUCKETS, self._counts, strict=False):
            below += count
            out.append(f'{name}_bucket{{{labels},le="{bound:g}"}} {below}')
        below += self._counts[-1]
        out += [f'{name}_bucket{{{labels},le="+Inf"}} {below}', f"{name}_sum{{{labels}}} {self.total:g}"]
        return [*out, f"{name}_count{{{labels}}} {below}"]


class Metrics:
    """What is counted per request, and the page that shows it with everything else.

    Args:
        figures: the gateway's own.
        more: lines to put below them.
    """

    def __init__(self, figures: Figures, more: Callable[[], list[str]] = list) -> None:
        self._figures = figures
        self._more = more
        self._answers: dict[tuple[str, str], int] = {}
        self._waits: dict[str, Histogram] = {}
        self._runs: dict[str, Histogram] = {}
        self._bytes = 0

    def request(self, lane: str, status: int, wait: float, run: float, sent: int) -> None:
        """A request is answered: `wait` and `run` in seconds, `sent` in bytes of its body."""
        key = (lane, f"{status // 100}xx")
        self._answers[key] = self._answers.get(key, 0) + 1
        self._waits.setdefault(lane, Histogram()).add(wait)
        self._runs.setdefault(lane, Histogram()).add(run)
        self._bytes += sent

    def page(self) -> str:
        """Everything, as text."""
        out = []
        for name, value in self._figures.numbers().items():
            kind = "counter" if name in COUNTERS else "gauge"
            full = f"headgate_{name}_total" if kind == "counter" else f"headgate_{name}"
            out += [f"# TYPE {full} {kind}", f"{full} {value}"]
        out.append("# TYPE headgate_limited_total counter")
        out += [f'headgate_limited_total{{bound="{name}"}} {count}' for name, count in self._figures.limited().items()]
        lanes = self._figures.lanes()
        for key in ("waiting", "running", "slots", "workers", "oldest_wait"):
            name = f"headgate_lane_{key}" + ("_seconds" if key == "oldest_wait" else "")
            out.append(f"# TYPE {name} gauge")
            out += [f'{name}{{lane="{lane}"}} {state[key]}' for lane, state in lanes.items()]
        out.append("# TYPE headgate_requests_total counter")
        out += [
            f'headgate_requests_total{{lane="{lane}",status="{status}"}} {count}'
            for (lane, status), count in sorted(self._answers.items())
        ]
        for name, histograms in (("headgate_wait_seconds", self._waits), ("headgate_run_seconds", self._runs)):
            out.append(f"# TYPE {name} histogram")
            for lane, histogram in sorted(histograms.items()):
                out += histogram.lines(name, f'lane="{lane}"')
        out += ["# TYPE headgate_sent_bytes_total counter", f"headgate_sent_bytes_total {self._bytes}"]
        return "\n".join([*out, *self._more(), ""])


class AdminListener:
    """Serves the metrics on a Unix socket that only the owner may open, and on a TCP address if one is configured.

    Args:
        metrics: what to show.
        path: of the Unix socket.
        address: `host:port` besides it, or "".
    """

    def __init__(self, metrics: Metrics, path: Path, address: str = "") -> None:
        self._metrics = metrics
        self._path = path
        self._address = address
        self._servers: list[asyncio.Server] = []
        self._bound = 0  # the inode of our socket's file: a successor's may lie in its place

    async def start(self) -> None:
        """Listen. What cannot be listened on is logged: a gateway serves without its metrics too."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path.unlink(missing_ok=True)
            self._servers.append(await asyncio.start_unix_server(self._serve, str(self._path)))
            os.chmod(self._path, 0o600)
            self._bound = self._path.stat().st_ino
            if self._address:
                host, _, port = self._address.rpartition(":")
                self._servers.append(
                    await asyncio.start_server(self._serve, host.strip("[]"), int(port), reuse_port=True)
                )
        except (OSError, ValueError) as exc:
            log.error("the metrics cannot be served at %s %s: %s", self._path, self._address, exc)

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_ino == self._bound:
                self._path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(10):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head[:_READ]))
                await writer.drain()
        writer.close()

    def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        if method != b"GET" or rest.partition(b" ")[0].partition(b"?")[0] != b"/metrics":
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        body = self._metrics.page().encode()
        kind = b"Content-Type: text/plain; version=0.0.4\r\n"
        return b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (kind, len(body), body)
