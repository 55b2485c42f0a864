"""A WebSocket client for tests, synchronous and with a deadline on everything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from websockets.sync.client import ClientConnection, connect

DEADLINE = 10.0
"""Seconds that a test waits for a message."""


class Socket:
    """One connection; JSON in text frames, unless bytes or text are sent as they are."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def send(self, message: Any) -> None:
        """Send text and bytes as they are, anything else as JSON."""
        self.connection.send(message if isinstance(message, str | bytes) else json.dumps(message))

    def receive(self, seconds: float = DEADLINE) -> Any:
        """The next message: bytes as they are, text decoded from JSON where it is JSON."""
        message = self.connection.recv(timeout=seconds)
        if isinstance(message, bytes):
            return message
        try:
            return json.loads(message)
        except ValueError:
            return message

    def ask(self, message: Any, seconds: float = DEADLINE) -> Any:
        """Send and return the next message."""
        self.send(message)
        return self.receive(seconds)

    def receive_until(self, wanted: Any, seconds: float = DEADLINE) -> list[Any]:
        """The messages up to and with the first for which `wanted(message)` is true."""
        seen: list[Any] = []
        while True:
            try:
                message = self.receive(seconds)
            except TimeoutError as error:
                raise AssertionError(f"the wanted message did not come; seen: {seen}") from error
            seen.append(message)
            if wanted(message):
                return seen

    def close_code(self) -> int | None:
        """The code the connection was closed with, or None while it is open."""
        return self.connection.close_code


@contextmanager
def open_socket(url: str, seconds: float = DEADLINE, **options: Any) -> Iterator[Socket]:
    """Connect to `ws://…`; keyword arguments go to `websockets.sync.client.connect`."""
    options.setdefault("proxy", None)
    with connect(url, open_timeout=seconds, close_timeout=seconds, **options) as connection:
        yield Socket(connection)
