"""The gateway reads heads of packets and adds to them; python-socketio's own packet classes are the judge."""

from __future__ import annotations

import string
from typing import Any

import msgspec
import pytest
import socketio.packet
from engineio.packet import Packet as EnginePacket
from engineio.payload import Payload
from socketio.msgpack_packet import MsgPackPacket

from headgate.gateway.socketio import codec
from headgate.gateway.socketio.codec import Malformed, Parcel

NAMESPACES = ("/", "/chat", "/a/b-c_d.e", "/ünï")
IDS = (None, 0, 7, 123456789)
ARGUMENTS: tuple[list[Any], ...] = (
    ["plain"],
    ["with arguments", 1, "zwei", None, {"deep": [True, {"x": "]"}]}],
    ['quoted " and \\ and \u2028'],
    ["binary", b"\x00\xff", {"more": [b"", b"x" * 300]}],
    ["not a number", float("nan")],
    ["2-3", "/not a namespace,"],
)


@pytest.mark.parametrize("serializer", [socketio.packet.Packet, MsgPackPacket])
@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("number", IDS)
@pytest.mark.parametrize("arguments", ARGUMENTS, ids=lambda arguments: arguments[0])
def test_events_are_read_as_the_library_writes_them(
    serializer: Any, namespace: str, number: int | None, arguments: list[Any]
) -> None:
    encoded = serializer(socketio.packet.EVENT, arguments, namespace, number).encode()
    packet, *attachments = encoded if isinstance(encoded, list) else [encoded]
    head = codec.read(packet)
    assert (head.namespace, head.id, head.event) == (namespace, number, arguments[0])
    assert head.attachments == len(attachments)
    assert head.kind in (codec.EVENT, codec.BINARY_EVENT)


@pytest.mark.parametrize("serializer", [socketio.packet.Packet, MsgPackPacket])
@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("arguments", [one for one in ARGUMENTS if one[0] != "not a number"], ids=lambda one: one[0])
def test_what_is_added_is_read_back_by_the_library(serializer: Any, namespace: str, arguments: list[Any]) -> None:
    encoded = serializer(socketio.packet.EVENT, arguments, namespace).encode()
    packet, *attachments = encoded if isinstance(encoded, list) else [encoded]
    numbered = _decoded(serializer, codec.with_id(packet, 42), attachments)
    assert (numbered.id, numbered.namespace or "/", numbered.data) == (42, namespace, arguments)
    stamped = _decoded(serializer, codec.with_offset(packet, "ab12.7"), attachments)
    assert (stamped.id, stamped.data) == (None, [*arguments, "ab12.7"])


@pytest.mark.parametrize("name", ["default", "msgpack"])
@pytest.mark.parametrize("namespace", NAMESPACES)
def test_packets_of_the_gateways_own(name: str, namespace: str) -> None:
    serializer = MsgPackPacket if name == "msgpack" else socketio.packet.Packet
    for kind, data in (
        (codec.CONNECT, {"sid": "x"}),
        (codec.DISCONNECT, None),
        (codec.CONNECT_ERROR, {"message": "ü"}),
    ):
        decoded = _decoded(serializer, codec.packet_of(kind, namespace, data, name), [])
        assert (decoded.packet_type, decoded.namespace or "/", decoded.data) == (kind, namespace, data)


@pytest.mark.parametrize(
    "packet",
    [
        *[
            "",
            "x",
            "7",
            "2",
            "2{}",
            "2[]",
            "2[null]",
            "2[1.5]",
            '2["connect"]',
            '2["disconnect"]',
            "2[",
            '2["a"',
            '2"a"',
        ],
        *["3[1]", "31", "31{}", "0[1]", "0{", "0x", "4", '4{"message":1}', '5257-["a"]', '2["x",NaN', '2["\\x",NaN]'],
        '2["a",' + "[" * 3000 + "]" * 3001,
        "0" + "[" * 3000,
    ],
)
def test_malformed(packet: str) -> None:
    with pytest.raises(Malformed):
        codec.read(packet)


@pytest.mark.parametrize("packet", [b"", b"\xc1", msgspec.msgpack.encode({"type": 9}), msgspec.msgpack.encode([1])])
def test_malformed_msgpack(packet: bytes) -> None:
    with pytest.raises(Malformed):
        codec.read(packet)


def test_a_parcel_on_both_transports() -> None:
    parcel = Parcel('51-["a",{"_placeholder":true,"num":0}]', [b"\x01\x02"])
    packets = Payload(encoded_payload=parcel.polled.decode()).packets
    assert [(one.packet_type, one.data) for one in packets] == [
        (4, '51-["a",{"_placeholder":true,"num":0}]'),
        (4, b"\x01\x02"),
    ]
    assert parcel.frames[0] == 0x81
    assert parcel.frames.endswith(b"\x82\x02\x01\x02")
    assert codec.frames_of(parcel.polled) == parcel.frames


def test_payloads_are_read_as_the_library_writes_them() -> None:
    packets = [EnginePacket(4, text) for text in (string.printable.replace("\x1e", ""), "", "ü€𝄞", b"\x00\x1e\xff")]
    payload = Payload(packets=packets).encode()
    assert codec.unpack(payload, 16) == ["4" + string.printable, "4", "4ü€𝄞", b"\x00\x1e\xff"]
    with pytest.raises(Malformed):
        codec.unpack("\x1e".join("2" * 5), 4)
    with pytest.raises(Malformed):
        codec.unpack("b!!", 4)


def _decoded(serializer: Any, packet: Any, attachments: list[Any]) -> Any:
    decoded = serializer(encoded_packet=packet)
    for part in attachments:
        decoded.add_attachment(part)
    return decoded
