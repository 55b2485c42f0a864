"""The servers of the socket benchmark, one process each for the sockets, and how to join each one's broadcast."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.hosting import Host, headgate_host, peer_host
from bench.peers import NodePeer, named

APPS = Path(__file__).parent / "apps"
NODE = NodePeer("ws", APPS / "ws")
SOCKETIO = "/socket.io/?EIO=4&transport=websocket"


@dataclass(frozen=True)
class Spoken:
    """A server and its protocol: where the socket is, what a client says first and how it asks for an echo.

    `most` is how many sockets it can hold here, where that is less than what is asked of the others.
    """

    host: Host
    path: str = "/ws"
    greeting: str = ""
    echo: str = "TEXT"
    most: int = 1_000_000


HOSTS = {
    "headgate": Spoken(headgate_host("Headgate", "headgate_app:app", APPS, "--gateways", "1"), echo='"TEXT"'),
    "headgate_socketio": Spoken(
        headgate_host("Flask-SocketIO app on Headgate", "socketio_app:app", APPS, "--gateways", "1"),
        SOCKETIO,
        "40",
        '42["echo","TEXT"]',
    ),
    "uvicorn": Spoken(
        peer_host(
            "Starlette on uvicorn",
            named("starlette"),
            "uvicorn --no-access-log --log-level warning --host 127.0.0.1 --port PORT starlette_app:app",
            APPS,
        )
    ),
    "granian": Spoken(
        peer_host(
            "Starlette on granian",
            named("granian_asgi"),
            "granian --interface asgi --workers 1 --host 127.0.0.1 --port PORT starlette_app:app",
            APPS,
        )
    ),
    "socketify": Spoken(peer_host("socketify", named("socketify"), "python socketify_app.py", APPS)),
    "ws": Spoken(peer_host("Node ws", NODE, "node ws/server.js", APPS)),
    "socketio_gevent": Spoken(
        peer_host(
            "Flask-SocketIO, gevent",
            named("socketio_gevent"),
            "gunicorn -k geventwebsocket.gunicorn.workers.GeventWebSocketWorker -w 1 --worker-connections 20000"
            " -b 127.0.0.1:PORT socketio_app:app",
            APPS,
            {"MODE": "gevent"},
        ),
        SOCKETIO,
        "40",
        '42["echo","TEXT"]',
    ),
    "socketio_threading": Spoken(
        peer_host(
            "Flask-SocketIO, threading",
            named("socketio_threading"),
            "python socketio_app.py",
            APPS,
            {"MODE": "threading"},
        ),
        SOCKETIO,
        "40",
        '42["echo","TEXT"]',
        2000,  # four threads each
    ),
}
