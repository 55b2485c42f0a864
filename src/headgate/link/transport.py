"""The asyncio shell of a link end: writes are gathered per loop turn, threads may send, a full pipe can be waited for.

link = await dial(path, worker_session(), on_message, on_closed)
link.send(WorkerHello(...))           # from the loop
link.send_threadsafe(Head(...))       # from any thread; encoded there
await link.drained()                  # when much is sent without credit
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, cast

from headgate.base.errors import ProtocolError, Unavailable
from headgate.link.session import In, Out, Session


class LinkTransport(asyncio.Protocol, Generic[In, Out]):
    """One link connection on the running loop.

    Args:
        session: this end's session.
        on_message: called on the loop with every message, the hello first. What it raises ends the link.
        on_closed: called once when the link is gone, with the reason, or None for an orderly end.
    """

    def __init__(
        self,
        session: Session[In, Out],
        on_message: Callable[[LinkTransport[In, Out], In], None],
        on_closed: Callable[[LinkTransport[In, Out], BaseException | None], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._session = session
        self._on_message = on_message
        self._on_closed = on_closed
        self._transport: asyncio.Transport | None = None
        self._out: deque[bytes] = deque()  # appends are atomic: threads and the loop share it without a lock
        self._scheduled = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._reason: BaseException | None = None
        self.closed = False

    def send(self, message: Out) -> None:
        """Queue a message; those of one loop turn go out in one write, in order. Does nothing on a closed link."""
        if self.closed:
            return
        self._out.append(self._session.encode(message))
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def send_threadsafe(self, message: Out) -> None:
        """As `send`, from any thread: encoded there; the loop is woken once for many messages."""
        if self.closed:
            return
        self._out.append(self._session.encode(message))
        if not self._scheduled:
            self._scheduled = True
            try:
                self._loop.call_soon_threadsafe(self._flush)
            except RuntimeError:  # the loop has ended: so has the link
                self.closed = True

    def hear(self, on_message: Callable[[LinkTransport[In, Out], In], None]) -> None:
        """Call another function from the next message on (who it is for is known after the hello)."""
        self._on_message = on_message

    async def drained(self) -> None:
        """Wait until the socket takes more, or the link is closed."""
        self._flush()
        await self._writable.wait()

    def close(self, reason: BaseException | None = None) -> None:
        """Send what is queued, then end the link; `on_closed` gets the reason."""
        self._flush()
        self._reason = self._reason or reason
        if self._transport is not None:
            self._transport.close()

    def abort(self, reason: BaseException | None = None) -> None:
        """End the link at once, dropping what is queued."""
        self._reason = self._reason or reason
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._session.feed(data):
                self._on_message(self, message)
        except ProtocolError as exc:
            self.abort(exc)
        except Exception as exc:
            self._loop.call_exception_handler({"message": "a link message could not be handled", "exception": exc})
            self.abort(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._out.clear()
        self._writable.set()
        self._on_closed(self, self._reason or exc)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _flush(self) -> None:
        if self._transport is None:
            return  # not connected yet: connection_made comes here again
        self._scheduled = False  # before the queue is emptied: an append after this schedules anew
        out = self._out
        data = []
        while out:
            data.append(out.popleft())
        if data and not self.closed:
            self._transport.write(data[0] if len(data) == 1 else b"".join(data))


async def dial(
    path: str,
    session: Session[In, Out],
    on_message: Callable[[LinkTransport[In, Out], In], None],
    on_closed: Callable[[LinkTransport[In, Out], BaseException | None], None],
) -> LinkTransport[In, Out]:
    """Connect to a link socket.

    Raises:
        Unavailable: nobody listens at the path now.
    """
    loop = asyncio.get_running_loop()
    try:
        _, protocol = await loop.create_unix_connection(lambda: LinkTransport(session, on_message, on_closed), path)
    except OSError as exc:
        raise Unavailable(f"no gateway answers at the link socket {path}: {exc.strerror or exc}") from exc
    return protocol
