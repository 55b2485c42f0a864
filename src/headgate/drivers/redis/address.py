"""From a URL to where a Redis is and how to speak to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

from redis.asyncio.connection import parse_url

from headgate.base.errors import ConfigError
from headgate.drivers.redis.line import SILENT

SCHEMES: Final = ("redis", "rediss", "valkey", "valkeys", "redis+unix")
"""Of a single server. `redis+sentinel`, `redis+cluster` and the same with `rediss` name several."""
_MANY: Final = ("sentinel", "cluster")
OWN: Final = ("namespace", "wait_replicas", "wait_timeout", "sentinel_username", "sentinel_password")
"""Options of a URL that are ours; the others are redis-py's."""


@dataclass(frozen=True, slots=True)
class Address:
    """One Redis, Sentinel group or cluster.

    Args:
        kind: "single", "sentinel" or "cluster".
        hosts: (host, port) of the server, the sentinels, or some nodes of the cluster.
        options: what redis-py's connections take: credentials, database, TLS.
        tls: whether connections are encrypted.
        master: the name that the sentinels know it by.
        sentinel: options of connections to sentinels.
        namespace: prefix of all keys; several Headgates can share a server.
        wait_replicas: how many replicas must have a job before `enqueue` returns.
        wait_timeout: seconds to wait for them; less than a silent server is given.
        shown: the URL without secrets.
    """

    kind: str
    hosts: tuple[tuple[str, int], ...]
    options: Mapping[str, Any]
    tls: bool
    shown: str
    master: str = ""
    sentinel: Mapping[str, Any] | None = None
    namespace: str = "headgate"
    wait_replicas: int = 0
    wait_timeout: float = 2.0


def is_redis(url: str) -> bool:
    """Whether the URL is for this driver."""
    scheme = url.partition("://")[0]
    return "://" in url and (scheme in SCHEMES or scheme.rpartition("+")[2] in _MANY)


def parse(url: str, wait_replicas: int = 0) -> Address:
    """Understand a URL.

    Args:
        url: `redis://[user:password@]host[:port][/database][?options]`; `rediss://` with TLS;
            `redis+sentinel://host:port,host:port/master[/database]`; `redis+cluster://host:port,host:port`;
            `redis+unix:///path`. Options: those of redis-py (`ssl_ca_certs` …), `namespace`, `wait_replicas`.
        wait_replicas: unless the URL says.

    Raises:
        ConfigError: it cannot be understood.
    """
    try:
        return _parse(url, wait_replicas)
    except ValueError as exc:
        raise ConfigError(f"{shown(url)} is no address of a Redis: {exc}") from exc


def shown(url: str) -> str:
    """The URL without its password."""
    scheme, _, rest = url.partition("://")
    before, at, host = rest.rpartition("@")
    user = before.partition(":")[0]
    return f"{scheme}://{user + ':***' if at else ''}{at}{host.partition('?')[0]}"


def _parse(url: str, wait_replicas: int) -> Address:
    parts = urlsplit(url)
    scheme, _, many = parts.scheme.partition("+")
    tls = scheme in ("rediss", "valkeys")
    if scheme not in ("redis", "rediss", "valkey", "valkeys") or many not in ("", "unix", *_MANY):
        raise ValueError(f"the scheme {parts.scheme} is not known")
    own = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    theirs = urlencode({key: value for key, value in own.items() if key not in OWN})
    credentials, at, net = parts.netloc.rpartition("@")
    hosts = tuple(_host(part, 26379 if many == "sentinel" else 6379) for part in net.split(",") if part)
    path = [part for part in parts.path.split("/") if part]
    master = path.pop(0) if many == "sentinel" and path else ""
    if many == "unix":
        single = f"unix://{credentials}{at}{parts.path}?{theirs}"
    else:
        # Where it is stands in `hosts`; this is only for what redis-py reads of credentials, database and options.
        single = f"{'rediss' if tls else 'redis'}://{credentials}{at}host/{path[0] if path else 0}?{theirs}"
    options = dict(parse_url(single))
    if many == "sentinel" and not master:
        raise ValueError("the name of the master is missing: redis+sentinel://host:26379/NAME")
    if many == "cluster" and options.get("db"):
        raise ValueError("a cluster has only database 0; tell two Headgates apart with ?namespace=")
    patience = float(own.get("wait_timeout", 2.0))
    if not 0.001 <= patience < SILENT:
        raise ValueError(
            f"wait_timeout is {patience:g} s and must be from 0.001 to below {SILENT:g}: a server that says nothing "
            "for so long is taken for dead"
        )
    options.pop("connection_class", None)
    for key in ("host", "port"):
        options.pop(key, None)
    return Address(
        kind=many if many in _MANY else "single",
        hosts=hosts or (("localhost", 6379),),
        options=options,
        tls=tls,
        shown=shown(url),
        master=master,
        sentinel={"username": own.get("sentinel_username"), "password": own.get("sentinel_password")},
        namespace=own.get("namespace", "headgate"),
        wait_replicas=int(own.get("wait_replicas", wait_replicas)),
        wait_timeout=patience,
    )


def _host(part: str, port: int) -> tuple[str, int]:
    if part.startswith("["):
        host, _, rest = part[1:].partition("]")
        return host, int(rest[1:] or port)
    host, _, number = part.partition(":")
    return host or "localhost", int(number or port)
