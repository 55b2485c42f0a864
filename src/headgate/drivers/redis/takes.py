"""Waiting for jobs: a claim that finds nothing leaves word, and whoever brings jobs wakes as many as there are."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any, Final

from headgate.base.errors import EngineGone
from headgate.base.model import Claim
from headgate.drivers.embedded.wire import Claims, Take
from headgate.drivers.redis.records import record

CHANNEL: Final = ">w:"
"""The channel under it wakes the takes of one client."""


class Waiter:
    """One take that is not answered yet."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.unwanted = False
        self.share: int | None = None
        self._news = asyncio.Event()

    def wake(self, share: int | None = None) -> None:
        self.share = share
        self._news.set()

    async def news(self) -> int | None:
        """Wait to be woken; the share of the jobs that is ours, None for as many as wanted."""
        await self._news.wait()
        self._news.clear()
        share, self.share = self.share, None
        return share


class Takes:
    """All takes of this client.

    Args:
        run: runs an operation; may wait for a connection for ever.
        lease: seconds that claims last.
        lost: called when a claim's answer may have been lost, with the worker's name.
    """

    def __init__(
        self, run: Callable[..., Awaitable[Any]], lease: float, lost: Callable[[str], Awaitable[None]]
    ) -> None:
        self.client = os.urandom(9).hex()
        self._run = run
        self._lease = lease
        self._lost = lost
        self._waiters: dict[int, Waiter] = {}

    def __len__(self) -> int:
        return len(self._waiters)

    async def take(self, asked: Take) -> Claims:
        """Claims as soon as there are some; none if the take is called back meanwhile."""
        waiter = self._waiters[asked.n] = Waiter(f"{self.client}/{asked.n}")
        try:
            most = asked.most
            while not waiter.unwanted:
                try:
                    found = await self._claim(asked, min(most, asked.most), waiter)
                except EngineGone:
                    # The claim may have been made: what we do not know of goes back, then we ask again.
                    await self._lost(asked.worker)
                    continue
                if found:
                    return Claims(asked.n, [Claim(record(fields), self._lease) for fields in found])
                most = await waiter.news() or asked.most
            await self._run("unwait", [waiter.name])
            return Claims(asked.n, [])
        finally:
            del self._waiters[asked.n]

    def call_back(self, n: int) -> None:
        """The take with this number is not wanted any more."""
        waiter = self._waiters.get(n)
        if waiter is not None:
            waiter.unwanted = True
            waiter.wake()

    def heard(self, payload: bytes) -> None:
        """A waking: the waiter's name and its share."""
        name, _, share = payload.decode().partition(" ")
        waiter = self._waiters.get(int(name.partition("/")[2]))
        if waiter is not None and waiter.name == name:
            waiter.wake(int(share))

    def connected(self) -> None:
        """Whatever was said while there was no connection is lost: all look for themselves."""
        for waiter in self._waiters.values():
            waiter.wake()

    async def _claim(self, asked: Take, most: int, waiter: Waiter) -> list[Any]:
        functions: Any = False if asked.functions is None else asked.functions
        return list(
            await self._run(
                "claim",
                [asked.worker, asked.queues, functions, most, self._lease, waiter.name, self.client],
                repeat=False,
                patience=None,
            )
        )
