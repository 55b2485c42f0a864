"""flask-sock routes, and whatever else uses `simple_websocket.Server`, unchanged.

`simple_websocket.Server(environ)` takes the network socket out of the environ and starts a thread that reads it.
Hosted here there is no such socket, and no need of the thread: for an environ of ours it is made a
`HostedServer`, which has the same methods and gets its messages from the gateway.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from headgate.apps.exchange import ClientGone
from headgate.apps.loops import ENVIRON_KEY, LoopConnection

_DONE = "_headgate_hosted"


def install() -> bool:
    """Make `simple_websocket.Server` serve our environs too; False if the app has not loaded it."""
    module = sys.modules.get("simple_websocket.ws")
    if module is None:
        return False
    server: Any = module.Server
    if not hasattr(server, _DONE):
        hosted = _hosted_class(module)

        def new(cls: type, environ: dict[str, Any] | None = None, *args: Any, **kwargs: Any) -> Any:
            ours = environ is not None and ENVIRON_KEY in environ and cls is server
            return object.__new__(hosted if ours else cls)

        setattr(server, _DONE, hosted)
        server.__new__ = new
    return True


def _hosted_class(module: ModuleType) -> type:  # noqa: C901 - a class of six short methods
    errors = sys.modules["simple_websocket.errors"]
    closed_error: type[Exception] = errors.ConnectionClosed
    server: Any = module.Server

    class HostedServer(server):  # type: ignore[misc]
        """A `simple_websocket.Server` whose connection a gateway holds."""

        def __init__(
            self,
            environ: dict[str, Any],
            subprotocols: list[str] | str | None = None,
            receive_bytes: int = 4096,
            ping_interval: float | None = None,
            max_message_size: int | None = None,
            **_: Any,
        ) -> None:
            """Pings and message sizes are the gateway's business; their arguments are taken and not used."""
            connection: LoopConnection = environ[ENVIRON_KEY]
            self.environ = environ
            self.mode = "headgate"
            self.subprotocols = [subprotocols] if isinstance(subprotocols, str) else subprotocols or []
            self.receive_bytes = receive_bytes
            self.ping_interval = ping_interval
            self.max_message_size = max_message_size
            self._connection = connection
            self.subprotocol = self.choose_subprotocol(connection.scope)
            try:
                connection.accept(self.subprotocol)
            except ClientGone:
                raise self._closed() from None

        @property
        def connected(self) -> bool:
            return self._connection.open

        @property
        def close_reason(self) -> int:
            return self._connection.code or 1005

        @property
        def close_message(self) -> str | None:
            return self._connection.reason or None

        def receive(self, timeout: float | None = None) -> str | bytes | None:
            message = self._connection.receive(timeout)
            if message is None and not self._connection.open:
                raise self._closed()
            return message

        def send(self, data: Any) -> None:
            try:
                self._connection.send(data if isinstance(data, bytes) else str(data))
            except ClientGone:
                raise self._closed() from None

        def close(self, reason: int | None = None, message: str | None = None) -> None:
            if not self._connection.open:
                raise self._closed()
            self._connection.hang_up(int(reason or 1000), message or "")

        def _closed(self) -> Exception:
            return closed_error(self.close_reason, self.close_message)

    return HostedServer
