from __future__ import annotations

import asyncio
import socket
import tempfile
from pathlib import Path

import pytest

from headgate.gateway.balance import ALIVE, MARGIN, Balance, Table


class Time:
    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


def test_the_lightest_of_those_alive_is_found(tmp_path: Path) -> None:
    time = Time()
    tables = [Table(tmp_path / "balance", index, time) for index in range(4)]
    for table, count in zip(tables, (20, 12, 10, 0), strict=True):
        table.tell(count)
    assert tables[0].lighter(20, 4) == [3, 2, 1]
    assert tables[0].lighter(20, 3) == [2, 1]
    tables[3].retire()
    assert tables[0].lighter(20, 4) == [2, 1]
    assert tables[0].lighter(10 + MARGIN, 4) == []
    tables[0].handed(2)
    assert tables[0].lighter(11 + MARGIN, 4) == []
    time.at += ALIVE
    assert tables[0].lighter(20, 4) == [], "they write no more: they are dead"


def test_four_gateways_end_up_even_whatever_the_kernel_deals(tmp_path: Path) -> None:
    time = Time()
    tables = [Table(tmp_path / "balance", index, time) for index in range(4)]
    counts = [0, 0, 0, 0]
    for table in tables:
        table.tell(0)
    for number in range(200):
        dealt = (0, 0, 0, 1, 2, 0, 0)[number % 7]
        target = next(iter(tables[dealt].lighter(counts[dealt] + 1, 4)), dealt)
        counts[target] += 1
        tables[target].tell(counts[target])
    assert sum(counts) == 200
    assert max(counts) / min(counts) <= 1.3


@pytest.mark.anyio
async def test_a_connection_changes_hands_unread() -> None:
    with tempfile.TemporaryDirectory(prefix="hg-") as name:
        folder, adopted = Path(name), asyncio.Queue[socket.socket]()
        heavy = Balance(folder, 0, 2, lambda _: None)
        light = Balance(folder, 1, 2, adopted.put_nowait)
        heavy.start()
        light.start()
        light.tell(0)
        ours, theirs = socket.socketpair()
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
        assert not heavy.hand_over(transport, MARGIN), "not enough of a difference"
        assert heavy.hand_over(transport, 50)
        transport.abort()
        theirs.sendall(b"hello")
        async with asyncio.timeout(10):
            sock = await adopted.get()
        sock.settimeout(10)
        assert sock.recv(5) == b"hello"
        light.close()
        ours, far = socket.socketpair()
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
        assert not heavy.hand_over(transport, 50), "it is retired"
        transport.abort()
        heavy.close()
        for one in (sock, theirs, far):
            one.close()
        await asyncio.sleep(0)
