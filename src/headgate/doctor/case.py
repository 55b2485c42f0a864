"""All that is known of a deployment: what the rules look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from headgate.doctor.model import Place
from headgate.readers.commands import Server
from headgate.readers.host import Host
from headgate.readers.nginx import Block
from headgate.readers.packages import Package
from headgate.readers.python import Call, Module
from headgate.readers.units import Unit
from headgate.readers.value import Value

SOCKET_PACKAGES = ("flask_socketio", "socketio", "flask_sock", "simple_websocket", "geventwebsocket")
GREEN = ("eventlet", "gevent")


@dataclass
class Case:
    """The facts, from files and from the running system alike."""

    modules: list[Module] = field(default_factory=list)
    servers: list[Server] = field(default_factory=list)
    units: list[Unit] = field(default_factory=list)
    nginx: list[Block] = field(default_factory=list)
    redis: dict[str, Value] = field(default_factory=dict)
    """Of redis.conf, and of a Redis that was asked."""
    postgres: dict[str, Value] = field(default_factory=dict)
    """Of postgresql.conf, and of a server that was asked."""
    packages: dict[str, Package] = field(default_factory=dict)
    sysctl: dict[str, Value] = field(default_factory=dict)
    spec: list[Value] = field(default_factory=list)
    """Names of packages that a kickstart, playbook, spec or script installs with dnf."""
    host: Host = field(default_factory=Host)
    notes: list[str] = field(default_factory=list)
    """What could not be looked at, and why."""

    def calls(self, *names: str) -> Iterator[tuple[Module, Call]]:
        """Calls by qualified name, in all modules."""
        for module in self.modules:
            for call in module.called(*names):
                yield module, call

    def web(self, kind: str | None = None) -> list[Server]:
        """The servers that answer HTTP."""
        return [server for server in self.servers if server.serves and kind in (None, server.kind)]

    def using(self, *packages: str) -> Place | None:
        """Where one of the packages is imported first; None where none is."""
        for module in self.modules:
            for name, statement, _ in module.imports:
                if name.split(".")[0] in packages:
                    return module.place(statement)
        return None

    def has(self, *packages: str) -> bool:
        """Whether a package is imported, or named as a requirement."""
        return self.using(*packages) is not None or any(name.replace("_", "-") in self.packages for name in packages)

    def major(self, package: str) -> int | None:
        """The major version of a package that is named or installed; None where it is not known."""
        found = self.packages.get(package)
        return None if found is None else found.major

    def holds_sockets(self) -> Place | None:
        """Where the app takes WebSockets."""
        return self.using(*SOCKET_PACKAGES)

    def greens(self) -> dict[str, Place]:
        """The greenlet libraries under which the app runs, with where that is said."""
        found: dict[str, Place] = {}
        for server in self.web("gunicorn"):
            if server.worker_class in GREEN:
                found.setdefault(server.worker_class, server.where("worker_class"))
        for module, call in self.calls("eventlet.monkey_patch", "gevent.monkey.patch_all"):
            found.setdefault(call.name.split(".")[0], module.place(call.node))
        for module, call in self.calls("flask_socketio.SocketIO", "socketio.Server"):
            mode = call.keyword("async_mode")
            text = getattr(mode, "value", None)
            if text in GREEN:
                found.setdefault(text, module.place(call.node))
        return found

    def upstreams(self) -> dict[str, list[Block]]:
        """nginx's upstream blocks by name, with their servers."""
        return {each.args[0]: each.own("server") for root in self.nginx for each in root.all("upstream") if each.args}

    def locations(self) -> list[Block]:
        """nginx locations that pass on to a server over HTTP."""
        return [
            location for root in self.nginx for location in (*root.all("location"), root) if location.own("proxy_pass")
        ]
