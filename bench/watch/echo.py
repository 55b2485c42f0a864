"""An echo server for the cost: `echo.py KIND DETECTOR LOOPS PATH` answers each line, after so many rounds of Python.

At the end of a connection it says how much CPU time the process has used since the connection began. With the detector
"ours" a line `on` or `off` turns the watch on or off.
"""

from __future__ import annotations

import os
import socket
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

from bench.watch import detectors

ON, OFF, END = b"on\n", b"off\n", b"end\n"


def work(loops: int) -> int:
    """Some Python."""
    total = 0
    for number in range(loops):
        total += number & 3
    return total


def loops_for(micros: float) -> int:
    """How many rounds of `work` take so long."""
    if not micros:
        return 0
    best = min(_timed(20_000) for _ in range(5))
    return int(20_000 * micros / best)


def _timed(loops: int) -> float:
    since = time.thread_time()
    work(loops)
    return (time.thread_time() - since) * 1e6


def switch(kind: str, detector: str) -> Any:
    """What turns the watch on and off; None in the peers' servers, which know nothing of it."""
    if detector != "ours":
        return None
    from bench.watch.switch import Switch

    return Switch(kind)


def serve_asyncio(path: str, detector: str, loops: int, kind: str = "asyncio") -> None:
    import asyncio

    watch = switch(kind, detector)

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert hasattr(transport, "write")  # uvloop's is no WriteTransport by its class
            self.transport: Any = transport
            self.since = time.process_time_ns()

        def data_received(self, data: bytes) -> None:
            if data == END:
                self.transport.write(b"%d\n" % (time.process_time_ns() - self.since))
                return
            if watch is not None and data in (ON, OFF):
                watch.turn(data == ON)
            work(loops)
            self.transport.write(data)

    async def main() -> None:
        kept = detectors.inside(detector)
        server = await asyncio.get_running_loop().create_unix_server(Echo, path)
        await server.serve_forever()
        del kept

    asyncio.run(main())


def serve_uvloop(path: str, detector: str, loops: int) -> None:
    import asyncio

    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    serve_asyncio(path, detector, loops, "uvloop")


def _serve_green(listener: socket.socket, spawn: Callable[..., object], loops: int, watch: Any) -> None:
    def serve(client: socket.socket) -> None:
        since = time.process_time_ns()
        while data := client.recv(4096):
            if data == END:
                client.sendall(b"%d\n" % (time.process_time_ns() - since))
                continue
            if watch is not None and data in (ON, OFF):
                watch.turn(data == ON)
            work(loops)
            client.sendall(data)

    while True:
        client, _ = listener.accept()
        spawn(serve, client)


def serve_eventlet(path: str, detector: str, loops: int) -> None:
    import eventlet
    from eventlet.green import socket as green

    listener = green.socket(green.AF_UNIX, green.SOCK_STREAM)
    listener.bind(path)
    listener.listen(8)
    detectors.inside(detector)
    _serve_green(listener, eventlet.spawn, loops, switch("eventlet", detector))


def serve_gevent(path: str, detector: str, loops: int) -> None:
    import gevent
    from gevent import socket as green

    listener = green.socket(green.AF_UNIX, green.SOCK_STREAM)
    listener.bind(path)
    listener.listen(8)
    detectors.inside(detector)
    _serve_green(listener, gevent.spawn, loops, switch("gevent", detector))


def main(kind: str, detector: str, loops: str, path: str) -> None:
    """Serve until killed."""
    warnings.simplefilter("ignore")
    detectors.before(detector)
    globals()[f"serve_{kind}"](path, detector, int(loops))


if __name__ == "__main__":
    os.set_inheritable(0, False)
    main(*sys.argv[1:])
