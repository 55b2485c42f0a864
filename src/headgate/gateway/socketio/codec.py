"""The heads of Socket.IO packets, and packets as Engine.IO carries them. Pure.

What is in a packet is for the app worker, which has the app's own packet class; a gateway reads only what it needs to
know where the packet goes (Socket.IO protocol v5, "Packet encoding"; Engine.IO protocol v4, "Packet encoding").
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, Final

import msgspec

from headgate.gateway.wire import binary_frame, text_frame

CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR, BINARY_EVENT, BINARY_ACK = range(7)
SEPARATOR: Final = "\x1e"
RESERVED: Final = frozenset(
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"]
)
"""Events that no client may send."""
MOST_ATTACHMENTS: Final = 256
_HEAD: Final = re.compile(r"([0-6])(?:(\d{1,9})-)?(/[^,]*,?)?(\d{1,15})?")
_NAME: Final = re.compile(r'\[\s*("(?:[^"\\]|\\.)*")')
_decode_array: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Malformed(Exception):
    """A packet that the protocol does not allow; the session has to end."""


class Head(msgspec.Struct):
    """What a packet begins with."""

    kind: int
    namespace: str = "/"
    id: int | None = None
    attachments: int = 0
    event: str = ""
    """The name of an event."""
    data: Any = None
    """The value of a CONNECT packet: what the client sent as `auth`."""


class _Envelope(msgspec.Struct):
    type: int
    nsp: str = "/"
    id: int | None = None
    data: Any = None


_decode_envelope: Final = msgspec.msgpack.Decoder(_Envelope).decode


def read(packet: str | bytes) -> Head:
    """The head of a packet: text of the default serializer, bytes of msgpack.

    Raises:
        Malformed: it is no packet.
    """
    head = _read_msgpack(packet) if isinstance(packet, bytes) else _read_text(packet)
    if head.attachments > MOST_ATTACHMENTS:
        raise Malformed("too many attachments")
    if head.event in RESERVED:
        raise Malformed("a reserved event")
    return head


def _read_text(packet: str) -> Head:
    match = _HEAD.match(packet)
    if match is None:
        raise Malformed("no packet type")
    kind = int(match[1])
    namespace = (match[3] or "/").removesuffix(",").partition("?")[0]
    head = Head(kind, namespace, int(match[4]) if match[4] else None, int(match[2] or 0))
    body = packet[match.end() :]
    if kind in (EVENT, BINARY_EVENT):
        head.event = _event_of(body)
    elif kind in (ACK, BINARY_ACK):
        if head.id is None or not body.startswith("["):
            raise Malformed("an acknowledgement without its number or data")
    elif kind == CONNECT:
        head.data = _object(body)
    elif kind == CONNECT_ERROR:
        raise Malformed("clients refuse nothing")
    return head


def _object(body: str) -> Any:
    if not body:
        return None
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        raise Malformed("no JSON") from None
    if value is not None and not isinstance(value, dict):
        raise Malformed("no JSON object")
    return value


def _event_of(body: str) -> str:
    try:
        items = _decode_array(body)
        if not items:
            raise Malformed("an event without a name")
        name = msgspec.json.decode(items[0])
    except msgspec.MsgspecError:
        name = _lenient(body)
    except RecursionError:
        raise Malformed("JSON with too many brackets") from None
    if not isinstance(name, str | int) or isinstance(name, bool):
        raise Malformed("an event without a name")
    return str(name)


def _lenient(body: str) -> str:
    """NaN and Infinity are no JSON, but Python's own encoder writes them."""
    match = _NAME.match(body)
    if match is None or not body.endswith("]") or not ("NaN" in body or "Infinity" in body):
        raise Malformed("no JSON array")
    try:
        return str(msgspec.json.decode(match[1]))
    except msgspec.DecodeError:
        raise Malformed("no JSON array") from None


def _read_msgpack(packet: bytes) -> Head:
    try:
        found = _decode_envelope(packet)
    except msgspec.MsgspecError:
        raise Malformed("no msgpack packet") from None
    if not CONNECT <= found.type <= BINARY_ACK or found.type == CONNECT_ERROR or not found.nsp.startswith("/"):
        raise Malformed("no packet type")
    head = Head(found.type, found.nsp, found.id)
    if found.type in (EVENT, BINARY_EVENT):
        if not isinstance(found.data, list) or not found.data or not isinstance(found.data[0], str):
            raise Malformed("an event without a name")
        head.event = found.data[0]
    elif found.type == CONNECT:
        head.data = found.data
    return head


def packet_of(kind: int, namespace: str, data: Any, serializer: str) -> str | bytes:
    """A packet of the gateway's own: CONNECT, DISCONNECT or CONNECT_ERROR."""
    if serializer == "msgpack":
        envelope: dict[str, Any] = {"type": kind, "nsp": namespace}
        if data is not None:
            envelope["data"] = data
        return msgspec.msgpack.encode(envelope)
    text = f"{kind}" if namespace == "/" else f"{kind}{namespace},"
    return text if data is None else text + msgspec.json.encode(data).decode()


def with_id(packet: str | bytes, number: int) -> str | bytes:
    """The same event, asking for an acknowledgement under this number."""
    if isinstance(packet, bytes):
        return msgspec.msgpack.encode({**msgspec.msgpack.decode(packet), "id": number})
    match = _HEAD.match(packet)
    at = match.end() if match is not None else 1
    return f"{packet[:at]}{number}{packet[at:]}"


def with_offset(packet: str | bytes, offset: str) -> str | bytes:
    """The same event with an offset as its last argument (connection state recovery)."""
    if isinstance(packet, bytes):
        envelope = msgspec.msgpack.decode(packet)
        return msgspec.msgpack.encode({**envelope, "data": [*envelope["data"], offset]})
    return f'{packet[:-1]},"{offset}"]'


class Parcel:
    """A packet with its attachments, encoded at most once for each transport, for however many clients.

    Args:
        packet: what Engine.IO carries as one message: text, or bytes.
        attachments: binary messages that follow it without anything between.
    """

    __slots__ = ("_frames", "_polled", "attachments", "number", "packet")

    def __init__(self, packet: str | bytes, attachments: list[bytes] | None = None) -> None:
        self.packet = packet
        self.attachments = attachments or []
        self._frames: bytes | None = None
        self._polled: bytes | None = None
        self.number = 0
        """Among the emits that are kept for those who come back."""

    @property
    def frames(self) -> bytes:
        """As WebSocket frames."""
        if self._frames is None:
            packet = self.packet
            first = binary_frame(packet) if isinstance(packet, bytes) else text_frame(b"4" + packet.encode())
            more = [binary_frame(part) for part in self.attachments]
            self._frames = b"".join([first, *more]) if more else first
        return self._frames

    @property
    def polled(self) -> bytes:
        """As a part of a polling payload."""
        if self._polled is None:
            packet = self.packet
            first = _base64(packet) if isinstance(packet, bytes) else b"4" + packet.encode()
            self._polled = b"\x1e".join([first, *(_base64(part) for part in self.attachments)])
        return self._polled


def frames_of(polled: bytes) -> bytes:
    """What waited for a poll, as frames: the client has moved to WebSocket."""
    parts = polled.split(b"\x1e")
    return b"".join(
        binary_frame(base64.b64decode(part[1:])) if part[:1] == b"b" else text_frame(part) for part in parts
    )


def polled_of(data: str) -> bytes:
    """An Engine.IO packet of the gateway's own, for a poll."""
    return data.encode()


def _base64(data: bytes) -> bytes:
    return b"b" + base64.b64encode(data)


def unpack(payload: str, most: int) -> list[str | bytes]:
    """The Engine.IO packets of a polling payload: text with its type, or the bytes of a binary message.

    Raises:
        Malformed: more than `most` packets, or no base64.
    """
    if payload.startswith("d="):  # JSONP posts a form
        from urllib.parse import parse_qs

        payload = parse_qs(payload, keep_blank_values=True).get("d", [""])[0]
    parts = payload.split(SEPARATOR)
    if len(parts) > most:
        raise Malformed(f"{len(parts)} packets in one payload")
    try:
        return [base64.b64decode(part[1:], validate=True) if part[:1] == "b" else part for part in parts]
    except binascii.Error:
        raise Malformed("no base64") from None
