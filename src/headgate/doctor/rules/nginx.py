"""Rules on nginx in front."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from headgate.doctor.case import Case
from headgate.doctor.model import Change, Finding, Place, Severity
from headgate.doctor.rules.registry import rule
from headgate.readers.nginx import Block

_WEBSOCKET: Final = "https://nginx.org/en/docs/http/websocket.html"
_SOCKET_PATH: Final = re.compile(r"ws|sock|live|stream|events|cable", re.IGNORECASE)
_PING: Final = 25.0
"""Seconds between two pings of Engine.IO, flask-sock and the like, unless they are told otherwise."""


def _for_sockets(case: Case) -> list[Block]:
    """Locations through which sockets go: those whose path says so, else all, when the app has sockets."""
    if case.holds_sockets() is None and not any(server.kind == "headgate" for server in case.servers):
        return []
    proxied = case.locations()
    named = [each for each in proxied if each.args and _SOCKET_PATH.search(each.args[-1])]
    return named or proxied


@rule(
    "nginx-no-upgrade",
    "nginx does not pass the WebSocket upgrade on",
    Severity.ERROR,
    why="Upgrade and Connection are headers between neighbours, and nginx drops them: the handshake never "
    "reaches the app.",
    fix="proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade; with a map for "
    "the latter.",
    source=_WEBSOCKET,
    rank=5,
)
def no_upgrade(case: Case) -> Iterator[Finding]:
    for location in _for_sockets(case):
        headers = {block.args[0].lower() for block in location.headers() if block.args}
        missing = [name for name in ("Upgrade", "Connection") if name.lower() not in headers]
        if missing:
            place = location.own("proxy_pass")[0].place
            lines = "\n".join(
                f"proxy_set_header {name} {'$http_upgrade' if name == 'Upgrade' else '$connection_upgrade'};"
                for name in missing
            )
            message = f"location {_name(location)} does not set {' and '.join(missing)}"
            yield Finding("nginx-no-upgrade", message, (place,), change=Change(place, "", lines))


@rule(
    "nginx-http10",
    "nginx speaks HTTP/1.0 to the app",
    Severity.ERROR,
    why="WebSockets need HTTP/1.1; before 1.29.7 nginx used 1.0 unless told.",
    fix="proxy_http_version 1.1;",
    source="https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_http_version",
    rank=6,
)
def http10(case: Case) -> Iterator[Finding]:
    for location in _for_sockets(case):
        version = location.inherited("proxy_http_version")
        if version is None or version.args[:1] == ["1.0"]:
            place = version.place if version is not None else location.own("proxy_pass")[0].place
            change = Change(place, version.place.text if version else "", "proxy_http_version 1.1;")
            yield Finding("nginx-http10", f"location {_name(location)} uses HTTP/1.0", (place,), change=change)


def _name(location: Block) -> str:
    return " ".join(location.args) or "(a snippet)"


@rule(
    "nginx-read-timeout",
    "nginx cuts sockets between two pings",
    Severity.ERROR,
    why="a socket on which nothing comes from the server for proxy_read_timeout (60 s by default) is closed: "
    "pings that are "
    "rarer than that come too late.",
    fix="proxy_read_timeout at least twice the ping interval, 75s for pings each 25 s.",
    source="https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_read_timeout",
    rank=18,
)
def read_timeout(case: Case) -> Iterator[Finding]:
    ping, told = _ping(case)
    for location in _for_sockets(case):
        found = location.inherited("proxy_read_timeout")
        limit = 60.0 if found is None else found.value.seconds
        if limit is not None and limit <= ping:
            place = found.place if found is not None else location.own("proxy_pass")[0].place
            message = f"proxy_read_timeout {limit:g} s, and pings come each {ping:g} s"
            yield Finding("nginx-read-timeout", message, (place, *told))


def _ping(case: Case) -> tuple[float, tuple[Place, ...]]:
    """The ping interval that the app sets, else the usual one."""
    for module, call in case.calls("flask_socketio.SocketIO", "socketio.Server", "socketio.AsyncServer"):
        given = call.keyword("ping_interval")
        value = getattr(given, "value", None)
        if isinstance(value, int | float):
            return float(value), (module.place(call.node),)
    return _PING, ()


@rule(
    "nginx-descriptors",
    "nginx runs out of descriptors before it runs out of connections",
    Severity.WARNING,
    why="a proxied socket takes two descriptors, the client's and the app's: with less than twice "
    "worker_connections nginx "
    "refuses clients, `24: Too many open files`.",
    fix="worker_rlimit_nofile at least 2 × worker_connections, in the main context.",
    source="https://nginx.org/en/docs/ngx_core_module.html#worker_rlimit_nofile",
)
def descriptors(case: Case) -> Iterator[Finding]:
    for root in case.nginx:
        for connections in root.all("worker_connections"):
            limit = next(root.all("worker_rlimit_nofile"), None)
            room = (limit.value.number if limit is not None else None) or 1024
            wanted = connections.value.number or 512
            if room < 2 * wanted and any(True for _ in root.all("proxy_pass")):
                message = f"worker_connections {wanted} need {2 * wanted} descriptors, and there are {room}"
                places = (connections.place, *((limit.place,) if limit is not None else ()))
                yield Finding("nginx-descriptors", message, places)


@rule(
    "time-wait",
    "Connections in TIME_WAIT use up the ports",
    Severity.ERROR,
    why="nginx opens a connection for each request, each keeps its port for a minute, and when the range is used up, "
    "new ones fail with `cannot assign requested address`.",
    fix="keepalive 64; in the upstream with proxy_http_version 1.1 and an empty Connection header; or a Unix socket.",
    source="https://nginx.org/en/docs/http/ngx_http_upstream_module.html#keepalive",
    rank=30,
)
def time_wait(case: Case) -> Iterator[Finding]:
    ports = case.host.values.get("net.ipv4.ip_local_port_range")
    if ports is None:
        return
    low, high = (int(number) for number in ports.text.split())
    room = high - low + 1
    for remote, count in case.host.time_wait.items():
        if count > room * 0.7:
            message = f"{count} connections to {remote} in TIME_WAIT, of {room} ports"
            place = Place("/proc/net/tcp", 0, f"{remote}: {count} in TIME_WAIT")
            yield Finding("time-wait", message, (place, ports.place))


@rule(
    "upstream-permission",
    "SELinux keeps nginx from the app",
    Severity.ERROR,
    why="nginx answers 502 to everybody: its domain may not connect to the app's socket.",
    fix="A typed Unix socket (`headgate deploy rhel` makes its policy), or setsebool -P httpd_can_network_connect on.",
    source="https://docs.redhat.com/en/documentation/red_hat_enterprise_linux/9/html/using_selinux/",
    rank=4,
)
def upstream_permission(case: Case) -> Iterator[Finding]:
    if case.host.refused:
        message = f"nginx was refused {len(case.host.refused)} connections to the app (errno 13)"
        yield Finding("upstream-permission", message, (case.host.refused[-1],))
