"""Prometheus metrics of watched services over HTTP, from the process of `headgate watch run`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from headgate.base.errors import ConfigError
from headgate.watch.metrics import lines


@contextlib.contextmanager
def serve(folder: Path, host: str, port: int) -> Iterator[int]:
    """Serve `/metrics` meanwhile; yields the port.

    Raises:
        ConfigError: the address cannot be listened on.
    """

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.partition("?")[0] != "/metrics":
                self.send_error(404)
                return
            body = ("\n".join(lines(folder)) + "\n").encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """A scrape each few seconds is no news."""

    try:
        server = ThreadingHTTPServer((host, port), Page)
    except OSError as exc:
        raise ConfigError(f"--metrics {host}:{port}: {exc.strerror}") from exc
    thread = threading.Thread(target=server.serve_forever, name="headgate-metrics", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
