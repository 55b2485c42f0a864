"""Listening sockets: bound once by the supervisor, inherited by the gateways, alive across their deaths."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Final

from headgate.base.errors import ConfigError
from headgate.config.address import Tcp, Unix, check_length, parse

BACKLOG: Final = 2048
SYSTEMD_FIRST: Final = 3
"""The first descriptor of socket activation (sd_listen_fds(3))."""


class Opened:
    """The sockets that were opened here: closed, and their files removed, at the end of the block."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        for listener in self._sockets:
            _close(listener)

    def public(self, bind: Sequence[str], gateways: int) -> list[list[socket.socket]]:
        """The public listening sockets of each gateway, by the `bind` setting.

        Several gateways on one TCP port get a socket each (SO_REUSEPORT), so that the kernel spreads
        connections evenly between them.

        Raises:
            ConfigError: an address is wrong, in use or not allowed.
        """
        shares: list[list[socket.socket]] = [[] for _ in range(gateways)]
        for address in map(parse, bind if gateways else ()):
            listeners = _listeners(address, gateways)
            self._sockets += dict.fromkeys(listeners)
            for share, listener in zip(shares, listeners, strict=True):
                share.append(listener)
        return shares

    def close(self, listener: socket.socket) -> None:
        """Close one of them before the others."""
        self._sockets.remove(listener)
        _close(listener)

    def unix(self, path: Path, mode: int) -> socket.socket:
        """As the function `unix`."""
        listener = unix(path, mode)
        self._sockets.append(listener)
        return listener


def _close(listener: socket.socket) -> None:
    path = listener.getsockname() if listener.family == socket.AF_UNIX else None
    listener.close()
    if path:
        Path(path).unlink(missing_ok=True)


def from_systemd(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """The sockets of systemd's socket activation, taken out of the environment; none when there is none."""
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    try:
        sockets = [socket.socket(fileno=number) for number in range(SYSTEMD_FIRST, SYSTEMD_FIRST + int(count))]
    except OSError as exc:
        raise ConfigError(f"LISTEN_FDS={count} promises sockets that are not there: {exc.strerror}.") from None
    for listener in sockets:
        listener.set_inheritable(False)
        if listener.type != socket.SOCK_STREAM:
            raise ConfigError(
                "systemd passed a socket that is no stream socket: use ListenStream= in the .socket unit."
            )
    return sockets


def _listeners(address: Tcp | Unix, gateways: int) -> list[socket.socket]:
    if isinstance(address, Unix):
        return [unix(Path(address.path))] * gateways
    first = _tcp(address, shared=False)
    if gateways == 1 or not sys.platform.startswith("linux"):
        return [first] * gateways
    # The plain bind above has shown that the port is free of others: with SO_REUSEPORT alone a second
    # server of the same user would share the port in silence.
    bound = Tcp(address.host, first.getsockname()[1])
    first.close()
    return [_tcp(bound, shared=True) for _ in range(gateways)]


def _tcp(address: Tcp, *, shared: bool) -> socket.socket:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as exc:
        raise ConfigError(f"The host of bind {address} is not known here: {exc.strerror}.") from None
    family, kind, protocol, _, target = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(target)
        listener.listen(BACKLOG)
    except OSError as exc:
        listener.close()
        raise ConfigError(_tcp_advice(address, exc)) from None
    return listener


def _tcp_advice(address: Tcp, exc: OSError) -> str:
    if exc.errno == errno.EADDRINUSE:
        return (
            f"{address} is in use by another program. Listen elsewhere, with --bind {address.host}:{address.port + 1} "
            f"for example, or find and stop the other: ss -ltnp 'sport = :{address.port}'"
        )
    if exc.errno == errno.EACCES:
        return (
            f"This user may not listen on {address}: ports below 1024 belong to the system. Listen on a higher one "
            "behind nginx (`headgate deploy`), or let systemd pass the socket."
        )
    if exc.errno == errno.EADDRNOTAVAIL:
        return (
            f"{address.host} is no address of this machine. Use 127.0.0.1 for this machine alone, 0.0.0.0 for all "
            "of its addresses."
        )
    return f"Cannot listen on {address}: {exc.strerror or exc}."


def unix(path: Path, mode: int | None = None) -> socket.socket:
    """Listen on a Unix socket; a file left by a dead server is replaced.

    Args:
        path: the socket's path.
        mode: its permissions; None leaves them to the umask.

    Raises:
        ConfigError: another server answers there, a plain file is in the way, or the path is too long.
    """
    check_length(path, "choose a shorter path")
    _clear(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        if mode is not None:
            path.chmod(mode)
        listener.listen(BACKLOG)
    except OSError as exc:
        listener.close()
        raise ConfigError(f"Cannot listen on unix:{path}: {exc.strerror or exc}.") from None
    return listener


def _clear(path: Path) -> None:
    """Remove a socket file that nobody listens on."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigError(f"{path} is in the way of a socket: it is a file of another kind. Remove or rename it.")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError:
            return
    raise ConfigError(f"unix:{path} is in use by another program. Stop it, or listen on another path with --bind.")


def written(listener: socket.socket, *, tls: bool = False) -> str:
    """A listening socket's address for people: a URL, or `unix:PATH`."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{name}"
    return f"{'https' if tls else 'http'}://{Tcp(name[0], name[1])}"
