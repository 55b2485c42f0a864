"""Messages of the embedded broker as bytes: encoded, bounded, decoded; and errors as they travel."""

from __future__ import annotations

from typing import Final

import msgspec

from headgate.base.errors import (
    BadOffset,
    ConfigError,
    Full,
    HeadgateError,
    LeaseLost,
    ProtocolError,
    QueueFull,
    StreamConflict,
    StreamEnded,
    StreamError,
    TooLarge,
    Unavailable,
    UnknownJob,
    UnknownStream,
    WrongState,
)
from headgate.base.frames import frame
from headgate.drivers.embedded.wire import FRAME_LIMIT, REQUEST_LIMIT, VERSION, Failed, Message, Reply, Request

_encoder = msgspec.msgpack.Encoder()
_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)

_ERRORS: Final[dict[str, type[HeadgateError]]] = {
    kind.__name__: kind
    for kind in (
        BadOffset,
        ConfigError,
        LeaseLost,
        ProtocolError,
        StreamConflict,
        StreamEnded,
        StreamError,
        TooLarge,
        Unavailable,
        UnknownJob,
        UnknownStream,
        WrongState,
    )
}
_FULL: Final[dict[str, type[Full]]] = {"Full": Full, "QueueFull": QueueFull}


def encode(message: Message) -> bytes:
    """One message as the payload of a frame."""
    return _encoder.encode(message)


def framed(message: Message) -> bytes:
    """One message as the bytes to send.

    Raises:
        TooLarge: it is longer than the other side would take.
    """
    payload = _encoder.encode(message)
    if len(payload) > FRAME_LIMIT:
        raise TooLarge(
            f"an answer of {len(payload)} bytes was asked for, and one message may have {FRAME_LIMIT}; ask for less"
        )
    return frame(payload)


def framed_request(message: Message) -> bytes:
    """One request as the bytes to send. Raises `TooLarge`."""
    return frame(encode_request(message))


def encode_request(message: Message) -> bytes:
    """One request as the payload of a frame.

    Raises:
        TooLarge: it is longer than a request may be; nothing was sent.
    """
    payload = _encoder.encode(message)
    if len(payload) > REQUEST_LIMIT:
        raise TooLarge(
            f"a request to the broker has {len(payload)} bytes and may have {REQUEST_LIMIT}; nothing was sent. "
            "Send it in parts, or store the data elsewhere and send where it is"
        )
    return payload


def decode_request(payload: bytes) -> Request:
    """What a client sent.

    Raises:
        ProtocolError: it is not a request of this version.
    """
    try:
        return _requests.decode(payload)
    except msgspec.MsgspecError as exc:
        raise ProtocolError(f"the client sent what is no request of wire version {VERSION}: {exc}") from exc


def decode_reply(payload: bytes) -> Reply:
    """What the broker sent.

    Raises:
        ProtocolError: it is not a reply of this version.
    """
    try:
        return _replies.decode(payload)
    except msgspec.MsgspecError as exc:
        raise ProtocolError(f"the broker sent what is no reply of wire version {VERSION}: {exc}") from exc


def failed(n: int, error: HeadgateError) -> Failed:
    """An error as it travels."""
    return Failed(n, type(error).__name__, str(error), getattr(error, "retry_after", 0.0))


def raised(reply: Failed) -> HeadgateError:
    """The error that a `Failed` stands for."""
    if reply.error in _FULL:
        return _FULL[reply.error](reply.message, reply.retry_after)
    return _ERRORS.get(reply.error, HeadgateError)(reply.message)
