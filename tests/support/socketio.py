"""A Socket.IO client of a test: the real Python client, with everything it receives written down."""

from __future__ import annotations

import threading
from typing import Any, Self

import requests
import socketio

from tests.support.wait import until

TRANSPORTS = {
    "websocket": ["websocket"],
    "polling": ["polling"],
    "upgrade": ["polling", "websocket"],
}


PAGE = "http://pages.example"
"""The page that clients say they are on."""


def new_client(origin: str = PAGE, **options: Any) -> Any:
    """A client that does not come back by itself."""
    extra = {"origin": origin}  # websocket-client makes one up otherwise
    return socketio.Client(reconnection=False, handle_sigint=False, websocket_extra_options=extra, **options)


class Scattered(requests.Session):
    """Each request on a connection of its own: with several gateways it may reach any of them."""

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs["headers"] = {**(kwargs.get("headers") or {}), "Connection": "close"}
        return super().request(*args, **kwargs)


class Player:
    """A connected client.

    Args:
        url: of the server.
        transport: a key of `TRANSPORTS`.
        namespaces: to connect to.
        auth, headers: as the client's own.
        answers: event → what to acknowledge it with.
    """

    def __init__(
        self,
        url: str,
        transport: str = "websocket",
        *,
        namespaces: list[str] | None = None,
        auth: Any = None,
        headers: dict[str, str] | None = None,
        answers: dict[str, Any] | None = None,
        path: str = "socket.io",
        **options: Any,
    ) -> None:
        self.events: list[tuple[str, Any]] = []
        """(event, its arguments: one as itself, several as a tuple), of all namespaces."""
        self.gone = threading.Event()
        self._answers = answers or {}
        http = Scattered()
        given = {"Origin": PAGE, **(headers or {})}
        self.client = new_client(http_session=http, origin=given["Origin"], **options)
        for name in namespaces or ["/"]:
            self.client.on("*", self._received, namespace=name)
            self.client.on("disconnect", lambda *_: self.gone.set(), namespace=name)
        try:
            self.client.connect(
                url,
                transports=TRANSPORTS[transport],
                namespaces=namespaces or ["/"],
                auth=auth,
                headers={name: value for name, value in given.items() if name != "Origin"},
                socketio_path=path,
                wait_timeout=15,
            )
        except BaseException:
            http.close()
            raise
        self._http = http
        until(lambda: self.client.transport() == TRANSPORTS[transport][-1], f"the transport {transport}")

    @property
    def sid(self) -> str:
        return str(self.client.get_sid())

    def call(self, event: str, *args: Any, namespace: str = "/") -> Any:
        """Emit, and wait for the acknowledgement."""
        return self.client.call(event, args, namespace=namespace, timeout=15)

    def emit(self, event: str, *args: Any, namespace: str = "/", callback: Any = None) -> None:
        self.client.emit(event, args, namespace=namespace, callback=callback)

    def got(self, event: str) -> list[Any]:
        """The arguments of each event of this name so far."""
        return [data for name, data in list(self.events) if name == event]

    def expect(self, event: str, count: int = 1, seconds: float = 15.0) -> list[Any]:
        """Wait until so many events of this name have come."""
        until(lambda: len(self.got(event)) >= count, f"{count} × {event!r}", seconds)
        return self.got(event)

    def close(self) -> None:
        self.client.disconnect()
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _received(self, event: str, *args: Any) -> Any:
        self.events.append((event, args[0] if len(args) == 1 else args))
        answer = self._answers.get(event)
        return answer(*args) if callable(answer) else answer
