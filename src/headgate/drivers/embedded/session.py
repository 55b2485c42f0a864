"""One client's conversation with the broker, without I/O: requests out, bytes in, replies told.

It outlives connections. When one breaks, requests that are safe to repeat wait and are sent again on the next;
of the others nobody can say whether they were carried out, and they fail with `EngineGone`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headgate.base.errors import EngineGone, HeadgateError, Unavailable
from headgate.base.frames import FrameReader
from headgate.drivers.embedded import codec, wire
from headgate.drivers.embedded.wire import Message, Pushed, Reply, Said

Answered = Callable[[Reply | HeadgateError], None]


@dataclass(slots=True)
class Pending:
    """A request without its reply."""

    data: bytes
    answered: Answered
    repeat: bool
    until: float
    """On the monotonic clock; infinity for one that may wait for ever."""


class Session:
    """The requests under way and the frames of one client.

    Args:
        client: what the broker calls it in its log.
        pushed: called with what the broker sends unasked.
        worker: the job worker whose claims end with the connection, if this is one.
    """

    def __init__(self, client: str, pushed: Callable[[Pushed | Said], None], worker: str | None = None) -> None:
        self.client = client
        self.worker = worker
        self.connected = False
        self.held: dict[str, int] = {}
        """Claims (job id → epoch) that this client knows to hold; kept by whoever takes and settles."""
        self.welcome: wire.Welcome | None = None
        self._pushed = pushed
        self._numbers = 0
        self._pending: dict[int, Pending] = {}
        self._reader = FrameReader(wire.FRAME_LIMIT)

    def number(self) -> int:
        self._numbers += 1
        return self._numbers

    def ask(self, request: Message, answered: Answered, *, repeat: bool, until: float) -> bytes:
        """Begin a request; returns the bytes to send, if there is a connection (else they are sent by `begin`).

        Raises:
            TooLarge: it would cut the connection; it was not begun.
        """
        data = codec.framed_request(request)
        if not self.connected and not repeat:
            answered(Unavailable("there is no connection to the broker; the request was not sent. Is it running?"))
            return b""
        self._pending[request.n] = Pending(data, answered, repeat, until)
        return data if self.connected else b""

    def drop(self, n: int) -> bool:
        """Nobody waits for this reply any more; False if it has come already."""
        return self._pending.pop(n, None) is not None

    def unwanted(self, n: int) -> None:
        """Nobody waits any more, but what the reply gives away must be handed back: wait for it on this connection."""
        pending = self._pending.get(n)
        if pending is not None and self.connected:
            pending.repeat = False
        else:
            self.drop(n)

    def begin(self) -> bytes:
        """A connection is there: greet, and send again what still waits."""
        self.connected = True
        self.welcome = None
        self._reader = FrameReader(wire.FRAME_LIMIT)
        hello = wire.Hello(self.number(), wire.VERSION, self.client, self.worker, self.held)
        return codec.framed(hello) + b"".join(pending.data for pending in self._pending.values())

    def received(self, data: bytes) -> None:
        """Bytes from the broker: tells each reply to whoever asked.

        Raises:
            ProtocolError: they are not what a broker says; the connection must be given up.
        """
        for payload in self._reader.feed(data):
            reply = codec.decode_reply(payload)
            if isinstance(reply, Pushed | Said):
                self._pushed(reply)
            elif isinstance(reply, wire.Welcome):
                self.welcome = reply
            else:
                self._answer(reply)

    def lost(self) -> None:
        """The connection broke."""
        self.connected = False
        for n, pending in list(self._pending.items()):
            if not pending.repeat:
                del self._pending[n]
                pending.answered(
                    EngineGone("the connection to the broker broke; it may or may not have done what was asked")
                )

    def overdue(self, now: float) -> None:
        """Give up what has waited too long."""
        for n, pending in list(self._pending.items()):
            if pending.until <= now:
                del self._pending[n]
                pending.answered(self._late())

    def fail(self, error: HeadgateError) -> None:
        """Fail everything: the client closes."""
        pending, self._pending = self._pending, {}
        for one in pending.values():
            one.answered(error)

    def _answer(self, reply: Reply) -> None:
        pending = self._pending.pop(reply.n, None)
        if pending is not None:
            pending.answered(codec.raised(reply) if isinstance(reply, wire.Failed) else reply)

    def _late(self) -> HeadgateError:
        if self.connected:
            return EngineGone("the broker is connected but has not answered in time; it may still do what was asked")
        return Unavailable("the broker does not answer: it is not running, or is being restarted. Try again later")
