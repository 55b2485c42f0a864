"""What lies between a connection and its first request where HTTP does not begin at once: PROXY headers and TLS."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import socket
import ssl
from typing import Any, Final, Protocol, cast

from uvicorn.protocols.utils import get_remote_addr

from headgate.base.errors import ConfigError
from headgate.config.settings import Settings
from headgate.gateway import proxyproto
from headgate.gateway.certificates import Certificates
from headgate.gateway.heads import Trust
from headgate.gateway.httpproto import Front, HttpProtocol
from headgate.gateway.noted import Noted
from headgate.gateway.pages import Page, page

log = logging.getLogger("headgate.gateway")

SHUTDOWN_TIMEOUT: Final = 3.0
"""Seconds for a client to take what is unsent and to answer the end of TLS."""
_TLS_RECORD: Final = 0x16
"""The first byte of a TLS handshake (RFC 8446 §5.1)."""


class Entry:
    """What connections have to begin with.

    Args:
        certificates: TCP connections speak TLS; None: they do not.
        proxies: connections of these peers begin with a PROXY header; None: nobody's do.
        timeout: seconds for both.
    """

    def __init__(self, certificates: Certificates | None, proxies: Trust | None, timeout: float) -> None:
        self.certificates = certificates
        self.proxies = proxies
        self.timeout = timeout
        self.noted = Noted(log)
        self.bad_headers = self.failed_handshakes = 0

    @property
    def plain(self) -> bool:
        """HTTP begins at once."""
        return self.certificates is None and self.proxies is None


class _Stage(enum.Enum):
    HEADER = enum.auto()
    HELLO = enum.auto()
    SHAKING = enum.auto()
    OVER = enum.auto()


class Door(asyncio.Protocol):
    """One connection until its HTTP begins. Takes uvicorn's place for protocols, and makes an `HttpProtocol`."""

    def __init__(self, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> None:
        self._loop: asyncio.AbstractEventLoop = _loop or asyncio.get_running_loop()
        self._http = HttpProtocol(config, server_state, app_state, self._loop)
        self._front = cast("Housed", self._http.front)
        self._entry = self._front.entry
        self._connections: set[Any] = server_state.connections
        self._transport: asyncio.Transport
        self._early = bytearray()
        self._stage = _Stage.OVER
        self._since = 0.0
        self._task: asyncio.Task[None] | None = None
        self.adopted = False
        """Another gateway accepted it, and it stays here."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if not self.adopted and self._front.pass_on(transport):
            transport.abort()
            return
        self._transport = transport
        self._connections.add(self)
        self._since = self._loop.time()
        self._http.adopted = True
        peer = get_remote_addr(transport)
        proxies = self._entry.proxies
        if proxies is not None and proxies.trusts(peer[0] if peer is not None else None):
            self._stage = _Stage.HEADER
        else:
            self._enter()

    def data_received(self, data: bytes) -> None:
        self._early += data
        if self._stage is _Stage.HEADER:
            self._read_header()
        elif self._stage is _Stage.HELLO:
            self._read_hello()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stage = _Stage.OVER
        self._connections.discard(self)
        if self._http.admitted:
            self._http.leave()

    def shutdown(self) -> None:
        """The gateway stops: what has not begun need not end."""
        self._transport.abort()

    def late(self, now: float) -> bool:
        """Whether the header, or the first byte of TLS, does not come. The TLS handshake has a limit of its own."""
        return self._stage in (_Stage.HEADER, _Stage.HELLO) and now - self._since > self._entry.timeout

    def refuse_late(self) -> None:
        if self._stage is _Stage.HEADER:
            self._bad_header("it did not come in time" if self._early else "nothing came")
        self._transport.abort()

    def _read_header(self) -> None:
        try:
            found = proxyproto.read(bytes(self._early))
        except proxyproto.BadProxyHeader as exc:
            self._bad_header(str(exc))
            self._answer(_NO_HEADER)
            return
        if found is not None:
            self._http.endpoints, used = found
            del self._early[:used]
            self._enter()

    def _bad_header(self, why: str) -> None:
        entry = self._entry
        entry.bad_headers += 1
        entry.noted.warn(
            "proxy",
            "a connection of the trusted proxy %s was refused: %s (proxy_protocol is on)",
            (get_remote_addr(self._transport) or ("on a Unix socket",))[0],
            why,
        )

    def _enter(self) -> None:
        """Who it is, is known: TLS comes next, or HTTP."""
        unix = self._transport.get_extra_info("socket").family == socket.AF_UNIX
        if self._entry.certificates is None or unix:
            self._begin_http(self._transport)
            return
        told = self._http.endpoints
        self._http.client = (told.client if told is not None else None) or get_remote_addr(self._transport)
        self._http.admitted = True
        if self._front.arrive(self._http) is not None:
            self._transport.abort()  # no page without TLS, and no TLS for what is not let in
            return
        self._stage = _Stage.HELLO
        if self._early:
            self._read_hello()

    def _read_hello(self) -> None:
        if self._early[0] != _TLS_RECORD:
            self._entry.failed_handshakes += 1
            self._answer(_PLAIN)
            return
        self._stage = _Stage.SHAKING
        self._transport.pause_reading()  # what has come is fed to TLS first
        self._task = self._loop.create_task(self._shake())

    async def _shake(self) -> None:
        hello, self._early = bytes(self._early), bytearray()
        plain, certificates = self._transport, self._entry.certificates
        assert certificates is not None
        self._loop.call_soon(self._loop.call_soon, _feed, plain, hello)
        try:
            secured = await self._loop.start_tls(
                plain,
                self,
                certificates.context,
                server_side=True,
                ssl_handshake_timeout=self._entry.timeout,
                ssl_shutdown_timeout=SHUTDOWN_TIMEOUT,
            )
        except (OSError, ssl.SSLError, TimeoutError) as exc:
            self._entry.failed_handshakes += 1
            log.debug("a TLS handshake failed: %s", exc)
            plain.abort()
            self._http.leave()
            return
        if secured is None or self._stage is _Stage.OVER:  # the client has gone meanwhile
            self._http.leave()
            return
        self._begin_http(secured)

    def _begin_http(self, transport: asyncio.Transport) -> None:
        self._stage = _Stage.OVER
        self._connections.discard(self)
        early, self._early = bytes(self._early), bytearray()
        http = self._http
        transport.set_protocol(http)
        http.connection_made(transport)
        if early:
            http.data_received(early)

    def _answer(self, told: Page) -> None:
        """Say what is wrong, in HTTP: a proxy's log, or a person at a terminal, will show it."""
        self._stage = _Stage.OVER
        self._transport.write(told.wire())
        self._transport.close()


def entry_of(settings: Settings) -> Entry:
    """What connections have to begin with, by the settings.

    Raises:
        ConfigError: a certificate cannot be used.
    """
    if not settings.tls_cert and (settings.tls_key or settings.tls_client_ca):
        raise ConfigError("tls_key and tls_client_ca need tls_cert: the file with the certificate chain (PEM).")
    certificates = None
    if settings.tls_cert:
        certificates = Certificates(
            settings.tls_cert,
            settings.tls_key,
            settings.tls_key_password,
            settings.tls_ciphers,
            settings.tls_client_ca,
        )
    proxies = Trust(settings.trusted_proxies) if settings.proxy_protocol else None
    return Entry(certificates, proxies, settings.head_timeout)


class Housed(Front, Protocol):
    """A front with a door."""

    entry: Entry


def _feed(plain: asyncio.Transport, data: bytes) -> None:
    """Give TLS what came before it was there: it is set up by now, and reads nothing before the next turn."""
    tls = plain.get_protocol()
    if plain.is_closing() or not hasattr(tls, "get_buffer"):
        return
    with contextlib.suppress(OSError, ssl.SSLError):
        while data:
            room = cast(Any, tls).get_buffer(len(data))
            size = min(len(room), len(data))
            room[:size] = data[:size]
            cast(Any, tls).buffer_updated(size)
            data = data[size:]


_NO_HEADER: Final = page(
    400,
    "no_proxy_header",
    "This address takes connections of its proxies only with a PROXY protocol header in front. "
    "Have the proxy send one (nginx: proxy_protocol on; HAProxy: send-proxy-v2), or turn proxy_protocol off here.",
)
_PLAIN: Final = page(400, "tls", "This address speaks TLS: use https:// or wss://.")
