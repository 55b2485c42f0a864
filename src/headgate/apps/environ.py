"""A WSGI environ (PEP 3333) from the scope of a request."""

from __future__ import annotations

import sys
from collections.abc import Callable
from io import BytesIO
from typing import IO, Any, Final
from urllib.parse import unquote_to_bytes

import headgate
from headgate.apps.files import FileWrapper
from headgate.link.messages import Scope

Environ = dict[str, Any]

_MOST_KEYS: Final = 2048
"""Header names are remembered; beyond this many somebody is making them up, and they are worked out each time."""
_DROPPED: Final = ""


class EnvironMaker:
    """Builds environs. One per app worker: it remembers what does not change from request to request.

    Args:
        base: keys that every environ has besides the standard ones.
    """

    def __init__(self, base: Environ | None = None) -> None:
        self._base: Environ = {
            "SERVER_SOFTWARE": f"headgate/{headgate.__version__}",
            "SCRIPT_NAME": "",
            "QUERY_STRING": "",
            "wsgi.version": (1, 0),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            "wsgi.file_wrapper": FileWrapper,
            "wsgi.input_terminated": True,
            **(base or {}),
        }
        self._keys: dict[bytes, str] = {b"content-length": "CONTENT_LENGTH", b"content-type": "CONTENT_TYPE"}

    def make(self, scope: Scope, body: bytes | IO[bytes]) -> Environ:
        """The environ of one request, whose whole body is at hand.

        Args:
            body: its bytes, or the open spool file.
        """
        environ = self._base.copy()
        environ["REQUEST_METHOD"] = scope.method
        environ["wsgi.url_scheme"] = scope.scheme
        environ["SERVER_PROTOCOL"] = "HTTP/" + scope.http_version
        raw_path = scope.raw_path
        path = scope.path if scope.path.isascii() else unquote_to_bytes(raw_path).decode("latin-1")
        if scope.root_path:
            environ["SCRIPT_NAME"] = root = scope.root_path.encode().decode("latin-1")
            path = path.removeprefix(root)
        environ["PATH_INFO"] = path
        uri = raw_path
        if scope.query:
            environ["QUERY_STRING"] = scope.query.decode("latin-1")
            uri = b"%s?%s" % (raw_path, scope.query)
        environ["REQUEST_URI"] = environ["RAW_URI"] = uri.decode("latin-1")
        if scope.client is not None:
            environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = scope.client[0], str(scope.client[1])
        else:
            environ["REMOTE_ADDR"] = ""  # a client on a Unix socket has none
        _server(environ, scope)
        self._headers(environ, scope.headers)
        environ["wsgi.input"] = BytesIO(body) if isinstance(body, bytes) else body
        if body and "CONTENT_LENGTH" not in environ:  # it came chunked; now its length is known
            environ["CONTENT_LENGTH"] = str(_size(body))
        return environ

    def _headers(self, environ: Environ, headers: list[tuple[bytes, bytes]]) -> None:
        keys = self._keys
        for name, value in headers:
            key = keys.get(name)
            if key is None:
                key = self._key(name)
            if key:
                text = value.decode("latin-1")
                if key in environ:
                    text = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{text}"
                environ[key] = text

    def _key(self, name: bytes) -> str:
        """The environ key of a header; none for `transfer-encoding`, which is undone, nor if it has an underscore.

        `x_forwarded_for` would otherwise be taken for `x-forwarded-for`, past any proxy that guards that one.
        """
        if b"_" in name or name == b"transfer-encoding":
            key = _DROPPED
        else:
            key = "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
        if len(self._keys) < _MOST_KEYS:
            self._keys[name] = key
        return key


def _server(environ: Environ, scope: Scope) -> None:
    server = scope.server
    if server is not None and server[1] is not None:
        environ["SERVER_NAME"], environ["SERVER_PORT"] = server[0], str(server[1])
    else:  # a Unix socket: PEP 3333 wants both all the same
        environ["SERVER_NAME"] = "localhost"
        environ["SERVER_PORT"] = "443" if scope.scheme in ("https", "wss") else "80"


def _size(body: bytes | IO[bytes]) -> int:
    if isinstance(body, bytes):
        return len(body)
    at = body.tell()
    end = body.seek(0, 2)
    body.seek(at)
    return end


StartResponse = Callable[..., Callable[[bytes], object]]
