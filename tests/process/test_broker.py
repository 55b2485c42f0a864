"""The broker's process and its socket: who may connect, what nonsense does, what a client that does not read costs."""

from __future__ import annotations

import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.base.frames import FrameReader, frame
from headgate.config.settings import Settings
from headgate.drivers.bridge import Bridge
from headgate.drivers.embedded import codec, wire
from headgate.roles.choose import open_bridge
from tests.support.contract import spec
from tests.support.roles import RoleProcess
from tests.support.wait import until


class Served:
    """A broker's process and a well-behaved client."""

    def __init__(self, folder: Path, broker: str) -> None:
        self.settings = Settings(data=str(folder / "data"), broker=broker)
        self.process = RoleProcess("broker", self.settings, folder)
        self.bridge: Bridge = open_bridge(broker, self.settings.data)

    def dial(self) -> socket.socket:
        """A raw connection."""
        raw = socket.socket(socket.AF_UNIX)
        raw.settimeout(20)
        raw.connect(str(self.settings.folder.broker))
        return raw

    def close(self) -> None:
        self.bridge.close()
        self.process.close()


@pytest.fixture(params=["embedded", "memory"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path, request.param)
    try:
        made.process.wait_ready()
        made.bridge.open()
        yield made
    finally:
        made.close()


def test_only_the_owner_may_connect_and_a_stop_leaves_no_socket(served: Served) -> None:
    folder = served.settings.folder
    assert stat.S_IMODE(folder.run.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.broker.stat().st_mode) == 0o600
    served.bridge.put([spec()])
    assert folder.database.exists() == (served.settings.broker == "embedded")
    assert served.process.stop() == 0
    assert not folder.broker.exists()


@pytest.mark.parametrize(
    "nonsense",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        frame(b"\xc1"),
        frame(codec.encode(wire.Stats(1))),
        codec.framed(wire.Hello(1, wire.VERSION + 1, "from the future")),
        b"\xff\xff\xff\xff",
    ],
    ids=["http", "no msgpack", "no greeting", "other version", "too long"],
)
def test_nonsense_is_cut_off_and_others_go_on(served: Served, nonsense: bytes) -> None:
    with served.dial() as raw:
        raw.sendall(nonsense)
        assert raw.recv(1) == b""
    served.bridge.put([spec()])


def test_a_request_in_pieces_is_answered(served: Served) -> None:
    with served.dial() as raw:
        for byte in codec.framed(wire.Hello(1, wire.VERSION, "slow")) + codec.framed(wire.Stats(2)):
            raw.sendall(bytes([byte]))
        reader, replies = FrameReader(wire.FRAME_LIMIT), list[wire.Reply]()
        while len(replies) < 2:
            replies += [codec.decode_reply(payload) for payload in reader.feed(raw.recv(4096))]
    assert replies == [wire.Welcome(1, wire.VERSION, 15.0), wire.Facts(2, {})]


def test_a_client_that_does_not_read_costs_a_bounded_amount(served: Served) -> None:
    with served.dial() as raw:
        raw.sendall(codec.framed(wire.Hello(1, wire.VERSION, "deaf")) + codec.framed(wire.Want(2, ["news"], True)))
        reader, dropped = FrameReader(wire.FRAME_LIMIT), 0
        greeted: list[wire.Reply] = []
        while len(greeted) < 2:
            greeted += [codec.decode_reply(payload) for payload in reader.feed(raw.recv(4096))]
        before = _rss(served.process.process.pid)
        payload = b"x" * 64_000
        for _ in range(2_500):
            served.bridge.publish("news", payload)
        grown = _rss(served.process.process.pid) - before
        # 160 MB were said; at most 1,000 messages of 64 KB wait.
        assert grown < 100_000_000
        heard = 0
        while heard + dropped < 2_500:
            for payload in reader.feed(raw.recv(1 << 20)):
                reply = codec.decode_reply(payload)
                if isinstance(reply, wire.Said):
                    heard, dropped = heard + 1, dropped + reply.dropped
        assert dropped > 1_000


def test_a_hundred_clients_at_once(served: Served) -> None:
    sockets = [served.dial() for _ in range(100)]
    try:
        for raw in sockets:
            raw.sendall(codec.framed(wire.Hello(1, wire.VERSION, "one of many")) + codec.framed(wire.Put(2, [spec()])))
        until(lambda: served.bridge.stats() == {"default": {"queued": 100}}, "all puts are in")
    finally:
        for raw in sockets:
            raw.close()


def _rss(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))
