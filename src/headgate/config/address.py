"""Addresses to listen on, as written in the `bind` setting."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headgate.base.errors import ConfigError

PATH_LIMIT: Final = 103 if sys.platform == "darwin" else 107
"""Bytes that the path of a Unix socket may have (`sun_path` without its end)."""


_LAST_PORT: Final = 65_535


@dataclass(frozen=True)
class Tcp:
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True)
class Unix:
    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


def parse(text: str) -> Tcp | Unix:
    """An address as written: `127.0.0.1:8000`, `[::1]:8000`, `:8000` (all addresses), `unix:PATH`.

    Raises:
        ConfigError: it is neither.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path:
            raise ConfigError('bind "unix:" has no path: write unix:/run/app/http.sock')
        check_length(path, "choose a shorter path")
        return Unix(path)
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if colon and port.isascii() and port.isdigit() and int(port) > _LAST_PORT:
        raise ConfigError(f'bind "{text}": a port is at most {_LAST_PORT}.')
    if not colon or not port.isascii() or not port.isdigit() or (":" in host and bare == host):
        raise ConfigError(
            f'bind "{text}" is not an address. Write host:port (127.0.0.1:8000, [::1]:8000), :port for all '
            "addresses of the machine, or unix:PATH."
        )
    return Tcp(bare or "0.0.0.0", int(port))


def check_length(path: str | Path, advice: str) -> None:
    """Refuse a Unix socket path that the system would refuse, with advice.

    Raises:
        ConfigError: the path is longer than `PATH_LIMIT` bytes.
    """
    size = len(str(path).encode())
    if size > PATH_LIMIT:
        raise ConfigError(
            f"The socket path {path} has {size} bytes; the system allows {PATH_LIMIT} for a Unix socket: {advice}."
        )
