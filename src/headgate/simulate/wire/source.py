"""Client sockets from several source addresses, for when one address runs out of ports.

One source address has some 28,000 ports towards one target on Linux, 16,000 on macOS. On loopback
every 127.0.0.x is an address of this machine (macOS wants `ifconfig lo0 alias 127.0.0.2` first).
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import itertools
import socket
import sys
from collections.abc import Sequence
from typing import Final

from headgate.simulate.errors import BadInput, TargetError

PORTS_PER_ADDRESS: Final = 16_000
# Not every Python names it; without it bind() takes a port before the target is known.
_BIND_NO_PORT: Final = 24


def loopback_sources(count: int) -> list[str]:
    """`127.0.0.1`, `127.0.0.2`, … : `count` of them."""
    if not 1 <= count <= 250:
        raise BadInput(f"{count} source addresses are asked for; 1 to 250 are possible")
    return [f"127.0.0.{n}" for n in range(1, count + 1)]


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class SourceAddresses:
    """Hands out connected sockets, taking the source addresses in turn; none given means the system's choice."""

    def __init__(self, addresses: Sequence[str] = ()) -> None:
        self._turn = itertools.cycle(addresses) if addresses else None

    async def connect(self, host: str, port: int, within: float) -> socket.socket:
        """A connected, non-blocking TCP socket.

        Raises:
            TargetError: it cannot be connected within `within` seconds.
        """
        where = f"{host}:{port}"
        try:
            async with asyncio.timeout(within):
                return await self._connect(host, port)
        except TimeoutError:
            raise TargetError(f"{where} did not accept a connection within {within:g} s") from None
        except socket.gaierror as error:
            raise TargetError(f"the host name {host!r} cannot be resolved: {error}") from None
        except ConnectionRefusedError:
            raise TargetError(f"nothing listens on {where} (connection refused)") from None
        except OSError as error:
            raise TargetError(_explain(where, error)) from None

    async def _connect(self, host: str, port: int) -> socket.socket:
        loop = asyncio.get_running_loop()
        family = socket.AF_INET if self._turn else socket.AF_UNSPEC
        try:
            found = [(socket.AF_INET6 if ":" in host else socket.AF_INET, (host, port))]
            ipaddress.ip_address(host)
        except ValueError:
            infos = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
            found = [(info[0], info[4][:2]) for info in infos]  # type: ignore[misc]
        problem: OSError | None = None
        for kind, address in found:
            sock = socket.socket(kind, socket.SOCK_STREAM)
            try:
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._bind(sock, kind)
                await loop.sock_connect(sock, address)
                return sock
            except OSError as error:
                sock.close()
                problem = error
            except BaseException:
                sock.close()
                raise
        raise problem or OSError(errno.EHOSTUNREACH, "no address")

    def _bind(self, sock: socket.socket, kind: int) -> None:
        if self._turn is None or kind != socket.AF_INET:
            return
        if sys.platform == "linux":  # elsewhere bind() picks the port, and that is that
            sock.setsockopt(socket.IPPROTO_IP, _BIND_NO_PORT, 1)
        sock.bind((next(self._turn), 0))


def _explain(where: str, error: OSError) -> str:
    if error.errno == errno.EADDRNOTAVAIL:
        return (
            f"no local port is left for {where}; spread the users over more source addresses with"
            " --sources (on macOS add them first: sudo ifconfig lo0 alias 127.0.0.2)"
        )
    if error.errno == errno.EMFILE:
        return "this process may not open more files; raise the limit (ulimit -n) or use more --processes"
    return f"{where} cannot be reached: {error.strerror or error}"
