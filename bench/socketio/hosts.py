"""The deployments of the Socket.IO benchmark; the app is the same file everywhere."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.hosting import Host, Running, headgate_host, peer_host
from bench.peers import named
from tests.support.marked import new_mark
from tests.support.nginx import Nginx
from tests.support.process import Process
from tests.support.redis import Redis
from tests.support.wait import accepts, free_port

APPS = Path(__file__).parent / "apps"
PEER = named("socketio")
GUNICORN = (
    "gunicorn -k geventwebsocket.gunicorn.workers.GeventWebSocketWorker -w 1 --worker-connections 20000"
    " -b 127.0.0.1:PORT room:app"
)
WORKERS = 2
UPSTREAM = """
    upstream app {{ ip_hash; {servers} }}
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_buffering off;
        }}
    }}
"""


def env() -> dict[str, str]:
    """What the app of every host finds around it."""
    return {name: os.environ[name] for name in ("DATABASE_URL",) if name in os.environ}


def headgate() -> Host:
    return headgate_host("Headgate", "room:app", APPS)


def gevent() -> Host:
    return peer_host("Flask-SocketIO, gevent, 1 worker", PEER, GUNICORN, APPS, {"ASYNC_MODE": "gevent", **env()})


def threading() -> Host:
    return peer_host(
        "Flask-SocketIO, threading, 1 process", PEER, "python room.py", APPS, {"ASYNC_MODE": "threading", **env()}
    )


def redis_workers() -> Host:
    """What Flask-SocketIO's documentation has for several processes: ip_hash in nginx, and a message queue."""

    @contextmanager
    def start(folder: Path) -> Iterator[Running]:
        mark = new_mark()
        with ExitStack() as stack:
            queue = stack.enter_context(Redis())
            ports = [free_port() for _ in range(WORKERS)]
            settings = {"ASYNC_MODE": "gevent", "MESSAGE_QUEUE": queue.url, "PYTHONPATH": str(APPS), **env(), **mark}
            workers = [_worker(stack, folder, port, settings) for port in ports]
            port = free_port()
            servers = " ".join(f"server 127.0.0.1:{one};" for one in ports)
            with Nginx(UPSTREAM.format(servers=servers, port=port), port):
                yield Running(port, workers[0].pid, mark)

    return Host(f"Flask-SocketIO, gevent, {WORKERS} workers, nginx ip_hash, Redis", GUNICORN, start)


def _worker(stack: ExitStack, folder: Path, port: int, settings: Mapping[str, str]) -> Process:
    words = GUNICORN.replace("PORT", str(port)).split()
    path = f"{PEER.path}{os.pathsep}{os.environ['PATH']}"
    command = [PEER.program(words[0]), *words[1:]]
    process = Process(f"worker{port}", command, folder, env={"PATH": path, **settings}, cwd=APPS)
    stack.callback(process.stop)
    return process.wait_ready(lambda: accepts(port))


HOSTS = {"headgate": headgate, "gevent": gevent, "redis": redis_workers, "threading": threading}
