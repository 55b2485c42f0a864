"""What waits for a result ends in time, whatever the server does."""

from __future__ import annotations

import asyncio
import contextlib
import socketserver
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from headgate.client import aresult, result

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
RESULT = (
    b"id: 0000000000000001\nevent: data\n"
    b'data:[{"offset":"0000000000000001","event":"result","data":{"result":5},"at":1.5,"terminal":true}]\n\n'
)
Says = Callable[["Talk"], None]


class Talk(socketserver.StreamRequestHandler):
    """One answer. Each kind ends with the result at last, so that one who overlooks the deadline does not hang."""

    server: Server

    def handle(self) -> None:
        self.server.came += 1
        with contextlib.suppress(OSError):  # the client has gone
            while self.rfile.readline().strip():
                pass
            self.server.says(self)

    def pause(self, seconds: float) -> bool:
        """True when the test has ended."""
        return self.server.over.wait(seconds)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True

    def __init__(self, says: Says) -> None:
        super().__init__(("127.0.0.1", 0), Talk)
        self.says, self.over, self.came = says, threading.Event(), 0


def signs_of_life(talk: Talk) -> None:
    talk.wfile.write(HEAD)
    for _ in range(300):
        talk.wfile.write(b": still here\n\n")
        if talk.pause(0.01):
            return
    talk.wfile.write(RESULT)


def silence(talk: Talk) -> None:
    talk.wfile.write(HEAD)
    if not talk.pause(5.0):
        talk.wfile.write(RESULT)


def no_answer(talk: Talk) -> None:
    if not talk.pause(5.0):
        talk.wfile.write(HEAD + RESULT)


def cuts(talk: Talk) -> None:
    talk.wfile.write(HEAD + (RESULT if talk.server.came > 2000 else b""))


def at_once(talk: Talk) -> None:
    talk.wfile.write(HEAD + RESULT)


@contextlib.contextmanager
def serving(says: Says) -> Iterator[str]:
    with Server(says) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/-/jobs/0192?token=t"
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


def blocking(address: str, **how: Any) -> Any:
    return result(address, **how)


def on_a_loop(address: str, **how: Any) -> Any:
    return asyncio.run(aresult(address, **how))


@pytest.mark.parametrize("wait", [blocking, on_a_loop])
@pytest.mark.parametrize("says", [signs_of_life, silence, no_answer, cuts])
def test_the_deadline_holds(says: Says, wait: Callable[..., Any]) -> None:
    with serving(says) as address, pytest.raises(TimeoutError, match=r"within 0\.2 s; it goes on"):
        wait(address, timeout=0.2, silence=30.0)


@pytest.mark.parametrize("wait", [blocking, on_a_loop])
def test_what_comes_in_time_is_returned(wait: Callable[..., Any]) -> None:
    with serving(at_once) as address:
        assert wait(address, timeout=30.0) == 5
