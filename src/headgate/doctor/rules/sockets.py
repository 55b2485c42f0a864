"""Rules on WebSockets and Socket.IO."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from headgate.doctor.case import Case
from headgate.doctor.model import Finding, Severity
from headgate.doctor.rules.registry import rule
from headgate.doctor.rules.work import long_work
from headgate.readers.commands import Server

_SOCKETIO: Final = "https://flask-socketio.readthedocs.io/en/latest/deployment.html"
_PER_SOCKET_THREADS: Final = 64


@rule(
    "work-in-socket-handler",
    "A socket handler does long work itself",
    Severity.ERROR,
    why="while it runs, one thread, or under a green worker the whole process with every socket of it, does "
    "nothing else.",
    fix="Make it a job (`@gate.job`) and let the socket follow it: `sock.follow(work.enqueue(...))`.",
    source="docs/how-to/batch-update-to-job.md",
    rank=2,
)
def work_in_handler(case: Case) -> Iterator[Finding]:
    for work in long_work(case, sockets_only=True):
        yield Finding("work-in-socket-handler", work.what, (work.place, work.module.place(work.handler)))


def _socketio(case: Case) -> Iterator[tuple[str, bool, Finding]]:
    for module, call in case.calls("flask_socketio.SocketIO", "socketio.Server", "socketio.AsyncServer"):
        queue = call.keyword("message_queue") is not None or call.keyword("client_manager") is not None
        yield call.name, queue, Finding("", "", (module.place(call.node),))


@rule(
    "socketio-workers",
    "Socket.IO with several gunicorn workers",
    Severity.ERROR,
    why="a Socket.IO session lives in one process, and gunicorn gives a client's next request to any: polling clients "
    "get 400 `Invalid session`, again and again.",
    fix="One worker for each gunicorn; or `headgate run`, which needs no sticky sessions.",
    source=_SOCKETIO,
    rank=10,
)
def socketio_workers(case: Case) -> Iterator[Finding]:
    made = next(_socketio(case), None)
    if made is None:
        return
    for server in case.web():
        count = server.number("workers", 1)
        if count > 1:
            message = f"{count} workers, and Socket.IO in them"
            yield Finding("socketio-workers", message, (server.where("workers"), *made[2].places))


@rule(
    "socketio-no-queue",
    "Several Socket.IO instances without a message queue",
    Severity.ERROR,
    why="an emit reaches only the clients of its own process: the others miss it, and nothing says so.",
    fix="Give SocketIO(message_queue=...), and sticky sessions in the proxy; or `headgate run`, which needs neither.",
    source=f"{_SOCKETIO}#using-multiple-workers",
    rank=12,
)
def socketio_queue(case: Case) -> Iterator[Finding]:
    for _, queue, found in _socketio(case):
        instances = [(len(servers), servers[0].place) for servers in case.upstreams().values() if len(servers) > 1] + [
            (server.number("numprocs", 1), server.where("numprocs"))
            for server in case.web()
            if server.number("numprocs", 1) > 1
        ]
        if instances and not queue:
            count, place = instances[0]
            message = f"{count} instances, and SocketIO() has no message_queue"
            yield Finding("socketio-no-queue", message, (found.places[0], place))


def _thread_sockets(case: Case) -> bool:
    return case.using("flask_sock", "simple_websocket") is not None


@rule(
    "sockets-few-threads",
    "Each socket takes a thread, and there are few",
    Severity.ERROR,
    why="under sync and gthread workers an open WebSocket holds its thread until it is closed: the next click "
    "waits for "
    "a socket to go away.",
    fix="`headgate run` gives sockets threads of their own; or raise threads= above the sockets that one worker holds.",
    source="https://flask-sock.readthedocs.io/en/latest/web_servers.html",
    rank=8,
)
def few_threads(case: Case) -> Iterator[Finding]:
    place = case.using("flask_sock", "simple_websocket", "flask_socketio")
    if place is None:
        return
    for server in case.web("gunicorn"):
        if server.worker_class in ("sync", "gthread"):
            room = server.number("workers", 1) * (_threads(server))
            if _threads(server) < _PER_SOCKET_THREADS:
                message = f"{server.worker_class} workers: at most {room} sockets and requests at a time"
                option = "threads" if server.worker_class == "gthread" else "worker_class"
                yield Finding("sockets-few-threads", message, (server.where(option), place))


def _threads(server: Server) -> int:
    return server.number("threads", 1) if server.worker_class == "gthread" else 1
