"""The certificate that a gateway shows, read anew when its files change."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from typing import Final

from headgate.base.errors import ConfigError

log = logging.getLogger("headgate.gateway")

LOOK_EVERY: Final = 2.0
"""Seconds between two looks at the files."""

Signature = tuple[tuple[int, int, int], ...]


class Certificates:
    """A certificate chain with its key, as files.

    A connection takes the context that there is when it comes, and keeps it: those that are open do not notice a new
    certificate. Each reading makes a new context, so that files which do not fit together (yet) change nothing.

    Args:
        cert, key: paths of PEM files; without a key it is in the first.
        password: of the key.
        ciphers: of TLS 1.2, in OpenSSL's words.
        client_ca: the authorities of which one must have signed each client's certificate; "" asks for none.

    Raises:
        ConfigError: a file cannot be read, or they do not fit together.
    """

    def __init__(self, cert: str, key: str = "", password: str = "", ciphers: str = "", client_ca: str = "") -> None:
        self._cert, self._key = cert, key or cert
        self._password = password
        self._ciphers = ciphers
        self._client_ca = client_ca
        self._seen = self._look()
        self.context = self._read()
        self.read_anew = 0

    def refresh(self) -> bool:
        """Read the files again if they have changed; whether there is a new context. Blocks on the disk."""
        seen = self._look()
        if seen == self._seen:
            return False
        self._seen = seen  # before the reading: what changes during it is seen the next time
        try:
            self.context = self._read()
        except ConfigError as exc:
            log.error("the certificate has changed and cannot be used; the one before it stays. %s", exc)
            return False
        self.read_anew += 1
        log.info("the certificate %s was read anew; new connections get it", self._cert)
        return True

    async def watch(self) -> None:
        """Look at the files now and then, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            await asyncio.to_thread(self.refresh)

    def _look(self) -> Signature:
        found = []
        for path in (self._cert, self._key, self._client_ca):
            try:
                stat = os.stat(path) if path else None
            except OSError:
                stat = None
            found.append((stat.st_ino, stat.st_size, stat.st_mtime_ns) if stat else (0, 0, 0))
        return tuple(found)

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._cert, self._key, lambda: self._password)
        except FileNotFoundError:
            missing = self._cert if not os.path.exists(self._cert) else self._key
            raise ConfigError(f"{missing}, which tls_cert or tls_key names, is not there.") from None
        except OSError as exc:
            raise ConfigError(
                f"tls_cert {self._cert} and tls_key {self._key} cannot be used: {_said(exc)}. They must be PEM files "
                "that belong together, readable for this user; an encrypted key needs tls_key_password."
            ) from None
        try:
            if self._ciphers:
                context.set_ciphers(self._ciphers)
        except ssl.SSLError:
            raise ConfigError(f"tls_ciphers {self._ciphers!r} names no cipher that OpenSSL has here.") from None
        if self._client_ca:
            try:
                context.load_verify_locations(self._client_ca)
            except OSError as exc:
                raise ConfigError(f"tls_client_ca {self._client_ca} cannot be read: {_said(exc)}.") from None
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def _said(exc: OSError) -> str:
    return (getattr(exc, "reason", None) or exc.strerror or str(exc)).lower().replace("_", " ")
