"""Picks the wire that a target's URL, or the chosen protocol, asks for."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from headgate.simulate.errors import BadInput
from headgate.simulate.orders import Spec
from headgate.simulate.scenario import Scenario
from headgate.simulate.wire.http import HttpWire
from headgate.simulate.wire.polling import SocketIoPollingWire
from headgate.simulate.wire.port import UserSink, Wire, WireOptions
from headgate.simulate.wire.socketio import Address, SocketIoWire
from headgate.simulate.wire.source import SourceAddresses
from headgate.simulate.wire.upgrade import SocketIoUpgradeWire
from headgate.simulate.wire.websocket import WebSocketWire

PROTOCOLS: Final = ("websocket", "socketio", "socketio-polling", "socketio-upgrade", "http")
_SCHEMES: Final = {"ws": "websocket", "wss": "websocket", "http": "http", "https": "http"}


def host_and_port(target: str) -> tuple[str, int]:
    """Where a target is.

    Raises:
        BadInput: it is not a URL with a host.
    """
    parts = urlsplit(target)
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise BadInput(f"the target {target!r} is not a URL: {error}") from None
    if not host or parts.scheme not in _SCHEMES:
        known = "://, ".join(_SCHEMES) + "://"
        raise BadInput(
            f"the target {target!r} is not understood; it must be a URL like"
            f" ws://127.0.0.1:8000/path (known here: {known})"
        )
    return host, port or (443 if parts.scheme in ("wss", "https") else 80)


def protocol_of(target: str, protocol: str = "auto") -> str:
    """The protocol to use for a target: the chosen one, or its URL's.

    Raises:
        BadInput: the URL cannot be used, or not with this protocol.
    """
    host_and_port(target)
    if protocol == "auto":
        return _SCHEMES[urlsplit(target).scheme]
    if protocol not in PROTOCOLS:
        raise BadInput(f"the protocol {protocol!r} is unknown; use one of {', '.join(PROTOCOLS)}")
    scheme = urlsplit(target).scheme
    if protocol == "websocket" and scheme not in ("ws", "wss"):
        raise BadInput(f"a websocket target's URL starts with ws:// or wss://, not {scheme}://")
    if protocol == "http" and scheme not in ("http", "https"):
        raise BadInput(f"an HTTP target's URL starts with http:// or https://, not {scheme}://")
    return protocol


def wire_maker(spec: Spec, scenario: Scenario) -> Callable[[UserSink], Wire]:
    """What makes a user's wire, by the spec's protocol."""
    options = WireOptions(
        url=spec.target,
        timeout=spec.timeout,
        sources=SourceAddresses(spec.sources),
        headers={**scenario.headers, **spec.headers},
        subprotocols=scenario.subprotocols,
        tls=tls_context(spec.target, spec.insecure),
        loop=asyncio.get_running_loop(),
    )
    if spec.protocol == "http":
        return lambda sink: HttpWire(options, sink)
    if spec.protocol == "socketio":
        address = Address(spec.target, scenario.socketio_path, "websocket", scenario.socketio_auth)
        return lambda sink: SocketIoWire(options, address, sink)
    if spec.protocol == "socketio-polling":
        address = Address(spec.target, scenario.socketio_path, "polling", scenario.socketio_auth)
        return lambda sink: SocketIoPollingWire(options, address, sink)
    if spec.protocol == "socketio-upgrade":
        address = Address(spec.target, scenario.socketio_path, "polling", scenario.socketio_auth)
        return lambda sink: SocketIoUpgradeWire(options, address, sink)
    return lambda sink: WebSocketWire(options, sink)


def tls_context(target: str, insecure: bool) -> ssl.SSLContext | None:
    """The TLS settings for wss and https; `insecure` accepts any certificate."""
    if urlsplit(target).scheme not in ("wss", "https"):
        return None
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
