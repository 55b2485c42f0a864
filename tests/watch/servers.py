"""What the matrix's calls wait for: a web server and a DNS server that take their time."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.watch.blocks import LENGTH


class _Slow(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        time.sleep(LENGTH)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


@contextlib.contextmanager
def slow_web() -> Iterator[str]:
    """A server that answers every GET after `LENGTH`; yields its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Slow)
    thread = threading.Thread(target=server.serve_forever, args=[0.05])
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def slow_dns() -> Iterator[int]:
    """A server that says of every name, after `LENGTH`, that there is none (RFC 1035); yields its port."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    server.settimeout(0.1)
    over = threading.Event()

    def answer(query: bytes, client: tuple[str, int]) -> None:
        time.sleep(LENGTH)
        with contextlib.suppress(OSError):
            server.sendto(query[:2] + b"\x81\x83" + query[4:6] + bytes(6) + query[12:], client)

    def serve() -> None:
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                query, client = server.recvfrom(512)
                threading.Thread(target=answer, args=[query, client], daemon=True).start()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        over.set()
        thread.join()
        server.close()
