"""The wire of a followed stream: HTTP/1.1 for one request, and the event stream in its answer. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import h11

from headgate.base.errors import HeadgateError


class Closed(HeadgateError):
    """The server ended the connection."""


class Refused(HeadgateError):
    """The server answered, and it is no stream of events.

    Args:
        status, headers, body: the answer.
    """

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(f"HTTP {status}: {body[:300].decode('utf-8', 'replace')}")
        self.status = status
        self.headers = {name.lower(): value for name, value in headers.items()}


class Lines:
    """Bytes of an event stream to its events (HTML Living Standard §9.2.6), as (event, data, id)."""

    def __init__(self) -> None:
        self._rest = b""
        self._kind, self._id, self._data = "", "", list[str]()

    def feed(self, piece: bytes) -> Iterator[tuple[str, str, str]]:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for raw in lines:
            line = raw.removesuffix(b"\r").decode("utf-8", "replace")
            if line:
                self._field(line)
                continue
            if self._data:
                yield self._kind, "\n".join(self._data), self._id
            self._kind, self._data = "", []

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._kind = value
        elif name == "data":
            self._data.append(value)
        elif name == "id":
            self._id = value


class Pieces:
    """HTTP/1.1 for one request, whose answer comes in pieces (h11 underneath)."""

    def __init__(self) -> None:
        self._http = h11.Connection(h11.CLIENT)
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body = b""
        self.over = False
        """The answer has ended."""

    def request(self, path: str, headers: Mapping[str, str]) -> bytes:
        """The bytes of a GET."""
        first = h11.Request(method="GET", target=path, headers=list(headers.items()))
        return (self._http.send(first) or b"") + (self._http.send(h11.EndOfMessage()) or b"")

    def take(self, data: bytes) -> Iterator[bytes]:
        """The pieces of the answer in what came.

        Raises:
            Refused: it is not 200.
            Closed: it is no HTTP, or was cut.
        """
        self._http.receive_data(data)
        try:
            while not self.over:
                event = self._http.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    return
                if isinstance(event, h11.Response):
                    self._status = event.status_code
                    self._headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
                elif isinstance(event, h11.Data):
                    if self._status == 200:
                        yield bytes(event.data)
                    else:
                        self._body += event.data
                elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                    self.over = True
        except h11.RemoteProtocolError as exc:
            raise Closed(f"the answer was cut: {exc}") from exc
        if self._status != 200:
            raise Refused(self._status, self._headers, self._body)
