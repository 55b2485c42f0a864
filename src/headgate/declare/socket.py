"""Native sockets: what `@gate.socket` declares, and the `sock` that its handlers get.

A handler holds nothing between events. What a connection needs to remember is in `sock.state`, a small
dict that the gateway keeps and sends along with each message.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any, Literal, Protocol

import msgspec

from headgate.base.errors import ConfigError
from headgate.base.model import START
from headgate.declare.handle import JobHandle
from headgate.declare.stream import Stream, offset_of

Format = Literal["json", "raw"]
Slow = Literal["drop", "latest", "close"]

Action = tuple[str, Any]
"""An effect as `(kind, data)`, as in `link.messages.Effect`."""


class Outlet(Protocol):
    """Where the effects of a handler go: to the gateway that holds the connection."""

    def effects(self, connection: str, actions: list[Action]) -> None: ...


class Socket:
    """One connection, for as long as one event of it is handled.

    Args:
        connection: its id.
        request: the handshake request (Flask's own in a Flask app).
        state: what earlier events left in `sock.state`.
        outlet: where its effects go.
    """

    def __init__(self, connection: str, request: Any, state: dict[str, Any], outlet: Outlet) -> None:
        self.id = connection
        self.request = request
        self.state = state
        self.subprotocols: list[str] = []
        """What the client offers (RFC 6455 §1.9); known in `on_connect`."""
        self.subprotocol: str | None = None
        """Set it in `on_connect` to one of those."""
        self.session: str | None = None
        """Set it in `on_connect` to name the session that this connection is of: a connection that had the same name
        on this path is closed with 4009. "" for none, also when the client names one."""
        self.key: str | None = None
        """Set it in `on_connect` to what `sockets_per_key` counts by: a user's or a tenant's name, say."""
        self._outlet = outlet

    def send(self, data: str | bytes) -> None:
        """Send text or bytes as they are, at once."""
        if not isinstance(data, str | bytes):
            raise TypeError(f"sock.send takes str or bytes, not {type(data).__name__}; use sock.json for other values")
        self._effect("send", data)

    def json(self, value: Any) -> None:
        """Send a value as JSON text, at once."""
        self._effect("send", _as_json(value))

    def join(self, channel: str, *, slow: Slow = "drop") -> None:
        """Get everything that is published to the channel from now on.

        Args:
            slow: what becomes of it while the client does not read as fast: "drop" lets the oldest messages give way,
                "latest" all but the newest, and "close" none: the client is closed with 4008 when they do not fit.

        Raises:
            ValueError: `slow` is none of these.
        """
        if slow not in typing.get_args(Slow):
            raise ValueError(f"sock.join(slow={slow!r}): there are {', '.join(map(repr, typing.get_args(Slow)))}")
        self._effect("join", channel if slow == "drop" else [channel, slow])

    def leave(self, channel: str) -> None:
        """Get no more of the channel."""
        self._effect("leave", channel)

    def follow(self, what: JobHandle | Stream | str, from_: int | str = START) -> None:
        """Get every event of a job or stream (or of one by its name) after an offset, up to the terminal one.

        Args:
            from_: the offset of the last event that the client has; default is before the first.

        Raises:
            ValueError: it is no offset.
        """
        self._effect("follow", [_name_of(what), offset_of(from_)])

    def unfollow(self, what: JobHandle | Stream | str) -> None:
        """Get no more events of a job or stream."""
        self._effect("unfollow", _name_of(what))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """End the connection, after everything sent before (RFC 6455 §7.4: 1000, or 4000–4999 of your own)."""
        self._effect("close", [code, reason])

    def _effect(self, kind: str, data: Any) -> None:
        self._outlet.effects(self.id, [(kind, data)])


def _name_of(what: JobHandle | Stream | str) -> str:
    if isinstance(what, JobHandle):
        return what.stream
    return what.name if isinstance(what, Stream) else what


Handler = Callable[..., Any]


class SocketRoute:
    """A declared native socket: the handler of its messages, and those of its beginning and end.

    Args:
        handler: called `handler(sock, message, **path parameters)` for every message.
        rule: its path in Flask's notation.
        format: "json" decodes each text message (to the annotation of the second parameter, if it has one);
            "raw" gives str or bytes as they came.
        concurrent: messages of one connection may be handled at the same time, in any order.
        event_field: fields of a JSON message that name its event, tried in order; default the setting `event_field`.
    """

    def __init__(
        self,
        handler: Handler,
        rule: str,
        *,
        format: Format = "json",
        concurrent: bool = False,
        event_field: tuple[str, ...] = (),
    ) -> None:
        if not rule.startswith("/"):
            raise ConfigError(f"the socket path {rule!r} must begin with a slash, as in @gate.socket('/updates')")
        if format not in ("json", "raw"):
            raise ConfigError(f"the socket {rule!r} has format={format!r}; there are 'json' and 'raw'")
        self.handler = handler
        self.rule = self.name = rule
        self.format = format
        self.concurrent = concurrent
        self.event_field = event_field
        self.origin = f"{handler.__module__}:{handler.__qualname__}"
        self.connect: Handler | None = None
        self.disconnect: Handler | None = None
        self._decoder: msgspec.json.Decoder[Any] | None = None
        self.__doc__ = handler.__doc__
        self.__name__ = handler.__name__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the message handler directly, as a test does."""
        return self.handler(*args, **kwargs)

    def on_connect(self, handler: Handler) -> Handler:
        """Decorator: `handler(sock, **path parameters)` decides about the handshake.

        None or True accepts; False refuses with 403; a response (or `abort(…)`) refuses with that.
        """
        self.connect = handler
        return handler

    def on_disconnect(self, handler: Handler) -> Handler:
        """Decorator: `handler(sock, code, reason, **path parameters)` is called after the connection has ended."""
        self.disconnect = handler
        return handler

    def decode(self, data: str | bytes) -> Any:
        """A message as the handler wants it.

        Raises:
            ValueError: it is not what the format says; the text says what to send instead.
        """
        if self.format == "raw":
            return data
        if isinstance(data, bytes):
            raise ValueError("this socket takes JSON as text messages, and a binary message came; send text")
        if self._decoder is None:
            self._decoder = msgspec.json.Decoder(_message_type(self.handler))
        try:
            return self._decoder.decode(data)
        except msgspec.ValidationError as exc:
            raise ValueError(f"the message does not have the shape that this socket takes: {exc}") from None
        except msgspec.DecodeError as exc:
            raise ValueError(f"this socket takes JSON, and the message is none ({exc}); send a JSON value") from None


def encode_answer(answer: Any, data: str | bytes) -> str | bytes:
    """What a handler returned as a message; the `id` of the message goes along so that clients can pair them.

    Args:
        data: the message as it came.

    Raises:
        TypeError: JSON cannot carry the answer.
    """
    if isinstance(answer, bytes):
        return answer
    if isinstance(answer, dict) and "id" not in answer and (given := message_id(data)) is not None:
        answer = {"id": given, **answer}
    return _as_json(answer)


def _as_json(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except TypeError as exc:
        raise TypeError(
            f"JSON cannot carry this message to the client ({exc}); give dicts, lists, text, numbers, booleans, None, "
            "dates or dataclasses, or bytes for a binary message"
        ) from None


class _WithId(msgspec.Struct):
    id: str | int | float | None = None


_decode_id = msgspec.json.Decoder(_WithId).decode


def message_id(data: str | bytes | None) -> str | int | float | None:
    """The `id` of a JSON object, if it has one that is text or a number."""
    if not isinstance(data, str) or '"id"' not in data:
        return None
    try:
        return _decode_id(data).id
    except msgspec.MsgspecError:
        return None


def _message_type(handler: Handler) -> Any:
    parameters = list(inspect.signature(handler).parameters.values())
    if len(parameters) < 2:
        return Any
    try:
        return typing.get_type_hints(handler).get(parameters[1].name, Any)
    except NameError:
        return Any
