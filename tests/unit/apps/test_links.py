"""A worker's links: which gateways it dials, and when it stops doing so."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from headgate.apps.links import Links
from headgate.link.messages import VERSION, GatewayHello, Slots, WorkerHello
from headgate.link.session import gateway_session
from headgate.link.transport import LinkTransport

pytestmark = pytest.mark.anyio
HELLO = WorkerHello(VERSION, "w", 1, "slow", 1, 4, "wsgi", [], {})


class Gateway:
    """One end that workers dial."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.links: list[Any] = []

    def arrival(self) -> LinkTransport[Any, Any]:
        return LinkTransport(gateway_session(), self._first, lambda *_: None)

    def _first(self, transport: LinkTransport[Any, Any], message: Any) -> None:
        self.links.append(transport)
        self.got.append(message)
        transport.hear(lambda _, message: self.got.append(message))
        transport.send(GatewayHello(VERSION, 0, 1, ""))


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what comes over a socket
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def listening(path: Path) -> AsyncIterator[Gateway]:
    gateway = Gateway()
    server = await asyncio.get_running_loop().create_unix_server(gateway.arrival, str(path))
    yield gateway
    for link in gateway.links:
        link.abort()
    server.close()
    path.unlink()  # noqa: ASYNC240 - a name, gone at once


async def test_new_gateways_are_dialled_and_one_that_went_is_not_dialled_again(workdir: Path) -> None:
    old, new = workdir / "old", workdir / "new"
    links = Links([str(old)], HELLO, lambda *_: None)
    async with listening(new) as second:
        async with listening(old) as first:
            await links.start()
            links.set_paths([str(old), str(new)])
            await until(lambda: first.links and second.links and len(links.live) == 2)
            links.set_paths([str(new)])
            assert len(links.live) == 2, "the old one is served to its end"
        await until(lambda: len(links.live) == 1)
        async with listening(old) as again:
            links.resize(9)
            await until(lambda: Slots(9) in second.got)
            assert not again.got
        await links.close()


async def test_a_link_that_breaks_is_dialled_again_with_the_slots_of_now(workdir: Path) -> None:
    links = Links([str(workdir / "g")], HELLO, lambda *_: None)
    async with listening(workdir / "g") as first:
        await links.start()
        await until(lambda: first.links)
    links.resize(7)
    async with listening(workdir / "g") as again:
        await until(lambda: again.got)
        assert again.got[0].slots == 7
        await links.close()
