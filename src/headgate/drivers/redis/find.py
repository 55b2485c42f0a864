"""Where the server is that has our keys: it can move by a fail-over or a change of the cluster.

All keys of one Headgate lie in one slot, so at any time exactly one server has them, in a cluster too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, TypeVar

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.crc import key_slot
from redis.exceptions import RedisError

from headgate.base.errors import Unavailable
from headgate.drivers.redis.address import Address

CONNECT_TIMEOUT: Final = 3.0
"""Seconds for one attempt to connect."""

C = TypeVar("C", bound=AbstractConnection)

_FAULTS = (RedisError, OSError, TimeoutError)


async def connect(address: Address, prefix: str) -> Connection | UnixDomainSocketConnection:
    """A fresh connection to the server that has our keys.

    Raises:
        Unavailable: none of the servers named answers, or they know of no master; the message says what each said.
    """
    if "path" in address.options:
        return await _open(UnixDomainSocketConnection(**_common(dict(address.options))), str(address.options["path"]))
    if address.kind == "sentinel":
        return await _to(address, *await _ask_sentinels(address))
    if address.kind == "cluster":
        return await _to(address, *await _ask_cluster(address, prefix))
    return await _to(address, *address.hosts[0])


def _common(options: dict[str, Any]) -> dict[str, Any]:
    # Replies are waited for without a limit here: one connection carries everything, and deadlines are the caller's.
    return {
        **options,
        "protocol": 3,
        "socket_timeout": None,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "retry_on_error": [],
    }


async def _to(address: Address, host: str, port: int, options: dict[str, Any] | None = None) -> Connection:
    kind = SSLConnection if address.tls else Connection
    wanted = dict(address.options) if options is None else options
    return await _open(kind(host=host, port=port, socket_keepalive=True, **_common(wanted)), f"{host}:{port}")


async def _open(connection: C, where: str) -> C:
    try:
        async with asyncio.timeout(2 * CONNECT_TIMEOUT):
            await connection.connect()  # type: ignore[no-untyped-call] # redis-py says nothing of its types
    except _FAULTS as exc:
        await connection.disconnect(nowait=True)
        raise Unavailable(f"{where}: {_said(exc)}") from exc
    return connection


async def _ask(address: Address, host: str, port: int, options: dict[str, Any] | None, *command: str) -> Any:
    connection = await _to(address, host, port, options)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await connection.send_command(*command)
            return await connection.read_response(disable_decoding=True)
    except _FAULTS as exc:
        raise Unavailable(f"{host}:{port}: {_said(exc)}") from exc
    finally:
        await connection.disconnect(nowait=True)


async def _ask_sentinels(address: Address) -> tuple[str, int]:
    said: list[str] = []
    options = {key: value for key, value in address.options.items() if key.startswith("ssl")}
    options |= {key: value for key, value in (address.sentinel or {}).items() if value}
    for host, port in address.hosts:
        try:
            found = await _ask(address, host, port, options, "SENTINEL", "get-master-addr-by-name", address.master)
        except Unavailable as exc:
            said.append(str(exc))
            continue
        if found:
            return found[0].decode(), int(found[1])
        said.append(f"{host}:{port} knows no master {address.master!r}")
    raise Unavailable("no sentinel could name the master: " + "; ".join(said))


async def _ask_cluster(address: Address, prefix: str) -> tuple[str, int]:
    slot, said = key_slot(prefix.encode()), list[str]()
    for host, port in address.hosts:
        try:
            ranges = await _ask(address, host, port, None, "CLUSTER", "SLOTS")
        except Unavailable as exc:
            said.append(str(exc))
            continue
        found = _owner(ranges, slot)
        if found is not None:
            # A node that knows no name of its own is the one that was asked.
            return found[0] or host, found[1]
        said.append(f"{host}:{port} knows no owner of slot {slot}")
    raise Unavailable("the cluster cannot be used: " + "; ".join(said))


def _owner(ranges: Sequence[Any], slot: int) -> tuple[str, int] | None:
    for first, last, (host, port, *_), *_ in ranges:
        if first <= slot <= last:
            return (host or b"").decode(), int(port)
    return None


def _said(exc: BaseException) -> str:
    return str(exc) or type(exc).__name__
