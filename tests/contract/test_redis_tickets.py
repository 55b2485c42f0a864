"""Tickets for RQ and Celery: when they are sent, sent again, and not sent yet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis as plain

from headgate.drivers.redis import RedisEngine
from headgate.drivers.redis.outgoing import HOLD, REFUSED, Ticket
from tests.support.contract import LIMITS, eventually, spec
from tests.support.redis_rig import RemoteClock
from tests.support.redis_rig import engine as made_engine

pytestmark = pytest.mark.anyio


class Carrier:
    """Takes tickets, unless it is away or does not like a job."""

    def __init__(self) -> None:
        self.away = False
        self.disliked = ""
        self.tickets: list[Ticket] = []
        self.refused: list[Ticket] = []

    def __call__(self, ticket: Ticket) -> None:
        if self.away or ticket.job == self.disliked:
            self.refused.append(ticket)
            raise OSError("nobody there")
        self.tickets.append(ticket)

    @property
    def jobs(self) -> list[str]:
        return [ticket.job for ticket in self.tickets]


class Office:
    """An engine, its carrier, and what the server has of its tickets."""

    def __init__(self, url: str) -> None:
        self.clock = RemoteClock()
        self.engine: RedisEngine = made_engine(url, self.clock, LIMITS)
        self.carrier = Carrier()
        self.prefix = self.engine._redis.prefix
        self.server = plain.Redis.from_url(url, decode_responses=True)
        self.engine.carry("rq", self.carrier)
        self.clock.rests = lambda: self.engine.resting and not self.sending

    @property
    def sending(self) -> bool:
        """Time stands still while tickets are handed over."""
        task = self.engine._redis.senders["rq"]._task
        return task is not None and not task.done()

    async def put(self, count: int, **options: Any) -> list[str]:
        """Enqueue jobs; their ids in the order in which their tickets are sent."""
        specs = [spec(carrier="rq", **options) for _ in range(count)]
        await self.engine.sink.put(specs)
        return sorted(one.id for one in specs)

    def due(self, job: str) -> float | None:
        """In how many seconds its ticket is to be sent (again)."""
        found: Any = self.server.zscore(f"{self.prefix}out:rq", job)
        return None if found is None else round(found - self.clock.now(), 3)

    async def until_given_back(self, *jobs: str) -> None:
        async def are_given_back() -> bool:
            dues = [self.due(job) for job in jobs]
            return all(due is not None and due <= REFUSED for due in dues)

        await eventually(are_given_back, "the tickets are due soon")

    async def until_sent(self, *jobs: str) -> None:
        async def are_sent() -> bool:
            return set(jobs) <= set(self.carrier.jobs)

        await eventually(are_sent, "the tickets are sent")


@pytest.fixture(params=["redis", "redis_6_2"])
async def office(request: pytest.FixtureRequest) -> AsyncIterator[Office]:
    made = Office(request.getfixturevalue(request.param))
    await made.engine.open()
    yield made
    await made.engine.close()
    made.server.close()


async def test_tickets_that_a_carrier_did_not_take_are_sent_soon_however_long_it_was_away(office: Office) -> None:
    office.carrier.away = True
    jobs = await office.put(3)
    for _ in range(30):
        await office.until_given_back(*jobs)
        await office.clock.advance(1.0)
    assert all(sum(ticket.job == job for ticket in office.carrier.refused) >= 4 for job in jobs)
    office.carrier.away = False
    await office.clock.advance(REFUSED)
    await office.until_sent(*jobs)
    # Each was sent once, and is taken for lost as early as any.
    assert all(REFUSED < (office.due(job) or 0) <= HOLD for job in jobs)
    names = [ticket.name for ticket in (*office.carrier.tickets, *office.carrier.refused)]
    assert len(set(names)) == len(names), "one that seemed to fail may have arrived: no name is used twice"


async def test_those_behind_a_ticket_that_is_refused_are_not_taken_for_sent(office: Office) -> None:
    specs = [spec(carrier="rq") for _ in range(5)]
    jobs = sorted(one.id for one in specs)
    office.carrier.disliked = jobs[2]
    await office.engine.sink.put(specs)
    await office.until_sent(*jobs[:2])
    await office.clock.advance(1.0)
    await office.until_sent(*jobs[3:])
    assert office.carrier.jobs == [*jobs[:2], *jobs[3:]]
    assert [ticket.job for ticket in office.carrier.refused] == [jobs[2]]
