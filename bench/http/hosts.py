"""The servers of the HTTP benchmark: 2 worker processes with 8 threads each, as far as the server knows both."""

from __future__ import annotations

from pathlib import Path

from bench.hosting import headgate_host, peer_host
from bench.peers import named

HERE = Path(__file__).parent
WORKERS, THREADS = 2, 8

HOSTS = {
    "headgate": headgate_host("Headgate", "app:app", HERE, "--workers", "2", "--threads", "8", "--gateways", "1"),
    "gthread": peer_host(
        "gunicorn gthread",
        named("gunicorn"),
        "gunicorn -k gthread -w 2 --threads 8 -b 127.0.0.1:PORT app:app",
        HERE,
    ),
    "gevent": peer_host(
        "gunicorn gevent",
        named("gevent"),
        "gunicorn -k gevent -w 2 -b 127.0.0.1:PORT app:app",
        HERE,
    ),
    "granian": peer_host(
        "granian WSGI",
        named("granian"),
        "granian --interface wsgi --workers 2 --blocking-threads 8 --host 127.0.0.1 --port PORT --no-ws app:app",
        HERE,
    ),
    "a2wsgi": peer_host(
        "uvicorn + a2wsgi",
        named("a2wsgi"),
        "uvicorn --workers 2 --no-access-log --log-level warning --host 127.0.0.1 --port PORT app_asgi:app",
        HERE,
    ),
    "waitress": peer_host(
        "waitress (1 process)",
        named("waitress"),
        "waitress-serve --threads 16 --listen 127.0.0.1:PORT app:app",
        HERE,
    ),
}
