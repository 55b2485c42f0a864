"""One end of a link connection without I/O: bytes in, messages out, and back; and the credit of its streams.

The gateway's end decodes `ToGateway` and encodes `ToWorker`; an app worker's end the other way round. Both
begin with their hello: the first message received must be one, of the same version.

    session = worker_session()
    sock.send(session.encode(WorkerHello(...)))
    for message in session.feed(sock.recv(65536)): ...

Credit (the rule of `messages.WINDOW`): the worker asks its `SendWindow` before each body or push, the
gateway's `ReceiveWindow` says when to send `Credit`. Counted are the bytes of `Head.body`, `Chunk.body` and
`Push.data` (text by its UTF-8 length). Bodies are cut into pieces of at most `PIECE` bytes; a push cannot
be cut, so one that is larger than what is left may overdraw a window of which more than half is left.
"""

from __future__ import annotations

import struct
from typing import Final, Generic, TypeVar

import msgspec

from headgate.base.errors import ProtocolError
from headgate.base.frames import FrameReader
from headgate.link.messages import (
    VERSION,
    WINDOW,
    GatewayHello,
    ToGateway,
    ToWorker,
    WorkerHello,
)

PIECE: Final = 64 * 1024
"""The most bytes of a response body that one `Head` or `Chunk` carries."""
MAX_FRAME: Final = 64 * 1024 * 1024
"""A frame over this is not a large message but a broken peer."""

In = TypeVar("In")
Out = TypeVar("Out")

_LENGTH: Final = struct.Struct(">I")


class Session(Generic[In, Out]):
    """Framing, encoding and the hello of one end. Not thread-safe, except `encode`, which holds no state.

    Args:
        decoder: of the messages that come in.
        hello: the type that the first of them must have.
        max_frame: the longest payload accepted, in bytes.
    """

    def __init__(
        self,
        decoder: msgspec.msgpack.Decoder[In],
        hello: type[WorkerHello] | type[GatewayHello],
        max_frame: int = MAX_FRAME,
    ) -> None:
        self._decode = decoder.decode
        self._encode = msgspec.msgpack.Encoder().encode
        self._frames = FrameReader(max_frame)
        self._hello = hello
        self._greeted = False

    def encode(self, message: Out) -> bytes:
        """One message as a frame. Raises `TypeError` for a value that msgpack cannot carry."""
        payload = self._encode(message)
        return _LENGTH.pack(len(payload)) + payload

    def feed(self, data: bytes | memoryview) -> list[In]:
        """Take bytes as they came; returns the messages that are now complete, the hello among them.

        Raises:
            ProtocolError: not a message of this direction, no hello first, another version, a frame too long.
        """
        decode = self._decode
        try:
            messages = [decode(payload) for payload in self._frames.feed(data)]
        except (msgspec.DecodeError, msgspec.ValidationError) as exc:
            raise ProtocolError(f"the other end of the link sent what is no link message: {exc}") from exc
        if not self._greeted and messages:
            self._greet(messages[0])
        return messages

    def _greet(self, first: In) -> None:
        if not isinstance(first, self._hello):
            raise ProtocolError(f"the link began with {type(first).__name__} where a {self._hello.__name__} was due")
        if first.version != VERSION:
            raise ProtocolError(
                f"the other end speaks link version {first.version}, this one {VERSION}: "
                "restart Headgate so that all its processes run the same release"
            )
        self._greeted = True


_TO_GATEWAY: Final[msgspec.msgpack.Decoder[ToGateway]] = msgspec.msgpack.Decoder(ToGateway)
_TO_WORKER: Final[msgspec.msgpack.Decoder[ToWorker]] = msgspec.msgpack.Decoder(ToWorker)


def gateway_session() -> Session[ToGateway, ToWorker]:
    """The gateway's end."""
    return Session(_TO_GATEWAY, WorkerHello)


def worker_session() -> Session[ToWorker, ToGateway]:
    """An app worker's end."""
    return Session(_TO_WORKER, GatewayHello)


class SendWindow:
    """How much one stream may still send. Not thread-safe: a threaded sender guards it with its own lock.

    Args:
        size: bytes that may be on the way at once.
    """

    __slots__ = ("_left", "_size")

    def __init__(self, size: int = WINDOW) -> None:
        self._size = size
        self._left = size

    @property
    def left(self) -> int:
        """Bytes that may be sent now; below zero when it is overdrawn."""
        return self._left

    def take(self, amount: int) -> bool:
        """Reserve `amount` bytes; False (and nothing reserved) when they must wait for credit."""
        if amount > self._left and self._left <= self._size // 2:
            return False  # the receiver may keep back less than half a window: above it, no credit may be on its way
        self._left -= amount
        return True

    def grant(self, amount: int) -> None:
        """The gateway's `Credit` came."""
        self._left = min(self._left + amount, self._size)


class ReceiveWindow:
    """Collects what was passed on until it is worth a `Credit` message (half a window).

    Args:
        size: the sender's window in bytes.
    """

    __slots__ = ("_passed", "_step")

    def __init__(self, size: int = WINDOW) -> None:
        self._passed = 0
        self._step = size // 2

    def passed(self, amount: int) -> int:
        """`amount` bytes went on their way to the client; returns the credit to send now, or 0."""
        self._passed += amount
        if self._passed < self._step:
            return 0
        granted, self._passed = self._passed, 0
        return granted


def data_bytes(data: str | bytes | None) -> int:
    """What a message's payload counts against the window: its length in bytes."""
    if data is None:
        return 0
    return len(data.encode("utf-8", "surrogatepass")) if isinstance(data, str) else len(data)
