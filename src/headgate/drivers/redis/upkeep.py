"""What time brings. Every client looks once a second; what is decided here commits only for the first of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec

from headgate.base import cron
from headgate.base.clock import Clock
from headgate.base.errors import ConfigError, HeadgateError
from headgate.base.model import Cron
from headgate.drivers.redis.decide import Decisions, Run
from headgate.drivers.redis.records import wanted

log = logging.getLogger(__name__)

TICK: Final = 1.0
"""Seconds between two looks, at most."""
AT_ONCE: Final = 200
"""Jobs handled by one look, so that a flood does not hold up the server."""

Member = Callable[[], tuple[str, bytes]]
"""Under which name a client is listed, and what it says of itself."""

_cron: msgspec.msgpack.Decoder[Cron] = msgspec.msgpack.Decoder(Cron)


class Upkeep:
    """One client's part in it.

    Args:
        run: runs an operation.
        decisions: carry out what is decided.
        clock: for waiting.
        lease: seconds; how old a look must be for the leases to be in doubt.
        depth: of queues, for the jobs of crons.
        member: under which name this client is listed, and what it says of itself; None: it is not listed.
        outgoing: told of a carrier that has tickets to be sent.
    """

    def __init__(
        self,
        run: Run,
        decisions: Decisions,
        clock: Clock,
        *,
        lease: float,
        depth: int,
        member: Member | None,
        outgoing: Callable[[str], None],
    ) -> None:
        self._run = run
        self._decisions = decisions
        self._clock = clock
        self._lease = lease
        self._depth = depth
        self._member = member
        self._outgoing = outgoing
        self._soon = asyncio.Event()
        self.resting = False
        """It waits for its time: a test that turns the clock waits for this."""

    def look_soon(self) -> None:
        """Something was put that may be due before the next look."""
        self._soon.set()

    async def work(self) -> None:
        """Look until cancelled."""
        while True:
            pause = TICK
            try:
                pause = await self._look()
            except HeadgateError as exc:
                log.debug("upkeep has to wait: %s", exc)
            if pause > 0:
                await self._rest(pause)

    async def _rest(self, pause: float) -> None:
        self._soon.clear()
        sleeping = asyncio.ensure_future(self._clock.sleep(pause))
        waking = asyncio.ensure_future(self._soon.wait())
        self.resting = True
        try:
            await asyncio.wait((sleeping, waking), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.resting = False
            sleeping.cancel()
            waking.cancel()

    async def _look(self) -> float:
        name, facts = self._member() if self._member is not None else (False, False)
        following, more, over, late, crons, now, out = await self._run("tick", [self._lease, AT_ONCE, name, facts])
        if over:
            jobs = [job.decode() for job in over[::3]]
            begun = dict(zip(jobs, map(bool, over[2::3]), strict=True))
            await self._decisions.lose(begun, epochs=dict(zip(jobs, map(int, over[1::3]), strict=True)))
        if late:
            await self._decisions.overdue([job.decode() for job in late])
        for name, moment, raw in zip(crons[::3], crons[1::3], crons[2::3], strict=True):
            await self._fire(name.decode(), moment.decode(), _cron.decode(raw), float(now))
        for carrier in out:
            self._outgoing(carrier.decode())
        if more or crons:
            return 0.0
        return TICK if not following else min(TICK, max(0.001, float(following)))

    async def _fire(self, name: str, at: str, one: Cron, now: float) -> None:
        """Put the jobs of every moment of a cron that has come, and move its next moment on."""
        try:
            moments, following = cron.due(one, float(at), now)
        except ConfigError as exc:
            log.error("cron %s is given up: %s", name, exc)
            await self._run("move_cron", [name, at, False, [], self._depth])
            return
        jobs = [wanted(cron.run_of(one, moment, now)) for moment in cron.wanted(one, moments, now)]
        said = await self._run("move_cron", [name, at, following, jobs, self._depth])
        if isinstance(said, list) and said and said[0] == b"!":
            log.warning("the run of cron %s is left out: %s", name, b" ".join(map(_bytes, said[1:])).decode())


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
