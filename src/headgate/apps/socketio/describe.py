"""What the app configured its Socket.IO server to be, for the gateways."""

from __future__ import annotations

import sys
from typing import Any, Final

from headgate.base.errors import ConfigError
from headgate.link.socketio import SioServer

_CATCHING: Final = ["connect", "disconnect", "*"]


def served_by(app: Any, flask_app: Any) -> tuple[Any, str] | None:
    """The Socket.IO server of an app and its path; None if it has none."""
    extension = getattr(flask_app, "extensions", {}).get("socketio") if flask_app is not None else None
    middleware = getattr(extension, "sockio_mw", None)
    if middleware is None:
        middleware = app if hasattr(app, "engineio_app") else None
    if middleware is None:
        return None
    server = getattr(middleware, "engineio_app", None)
    ours = sys.modules.get("headgate.declare.socketio.server")
    if ours is None or not isinstance(server, ours.GatewayServer):
        return None
    return server, str(middleware.engineio_path)


def describe(server: Any, path: str) -> SioServer:
    """The configuration that the gateways go by.

    Raises:
        ConfigError: the app uses a packet class that only it can read.
    """
    eio = server.eio
    origins, same = _origins(eio.cors_allowed_origins)
    interval = eio.ping_interval + (getattr(eio, "ping_interval_grace_period", 0) or 0)
    return SioServer(
        path=path,
        ping_interval=float(interval),
        ping_timeout=float(eio.ping_timeout),
        max_payload=int(eio.max_http_buffer_size),
        transports=list(eio.transports),
        allow_upgrades=bool(eio.allow_upgrades),
        cookie=_cookie(eio.cookie),
        origins=origins,
        same_origin=same,
        cors=eio.cors_allowed_origins != [],
        credentials=bool(eio.cors_credentials),
        compress=int(eio.compression_threshold) if eio.http_compression else 0,
        serializer=_serializer(server.packet_class),
        namespaces=_namespaces(server),
        accepted=_accepted(server),
        always_connect=bool(server.always_connect),
        ordered=not server.async_handlers,
    )


def _origins(allowed: Any) -> tuple[list[str] | None, bool]:
    """(origins, same origin too); a function is asked when a client connects, in an app worker."""
    if allowed is None:
        return [], True
    if allowed == "*" or callable(allowed) or (isinstance(allowed, list | tuple) and "*" in allowed):
        return None, False
    return ([allowed] if isinstance(allowed, str) else list(allowed)), False


def _cookie(cookie: Any) -> str:
    if not cookie:
        return ""
    attributes = cookie if isinstance(cookie, dict) else {"name": cookie, "path": "/", "SameSite": "Lax"}
    text = f"{attributes.get('name', 'io')}={{sid}}"
    for name, value in attributes.items():
        if name == "name":
            continue
        value = value() if callable(value) else value
        text += f"; {name}" if value is True else f"; {name}={value}"
    return text


def _serializer(packet_class: Any) -> str:
    packet = sys.modules["socketio.packet"].Packet
    if packet_class.encode is packet.encode and packet_class.decode is packet.decode:
        return "default"
    packed = sys.modules.get("socketio.msgpack_packet")
    if packed is not None and issubclass(packet_class, packed.MsgPackPacket):
        return "msgpack"
    raise ConfigError(
        f"the Socket.IO serializer {packet_class.__name__} is one that gateways cannot read the heads of: "
        'use serializer="default" or "msgpack", and the option json= for an encoder of your own'
    )


def _namespaces(server: Any) -> dict[str, list[str]]:
    """Namespaces with the events that have a handler."""
    found: dict[str, set[str]] = {}
    for name, handlers in server.handlers.items():
        found.setdefault(name, set()).update(map(str, handlers))
    for name, handler in server.namespace_handlers.items():
        found.setdefault(name, set()).update(_methods(handler))
    return {name: sorted(events) for name, events in found.items()}


def _accepted(server: Any) -> list[str] | None:
    """As python-socketio has it: a handler for namespace "*" lets nobody into a namespace that nothing else names."""
    if server.namespaces == "*":
        return None
    return sorted({*server.namespaces, *server.handlers, *server.namespace_handlers} - {"*"})


def _methods(handler: Any) -> list[str]:
    """The events of a class-based namespace; all of them if it has dispatching rules of its own."""
    makers = [one for one in type(handler).__mro__ if "trigger_event" in vars(one)]
    if makers and not makers[0].__module__.startswith(("socketio.", "flask_socketio.")):
        return _CATCHING
    return [name.removeprefix("on_") for name in dir(handler) if name.startswith("on_")]
