"""Tickets for RQ and Celery: when they are sent, sent again, and not sent yet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis as plain

from headgate.base.errors import ConfigError
from headgate.base.model import JobState
from headgate.config.settings import Settings
from headgate.drivers.redis import RedisEngine
from headgate.drivers.redis.outgoing import HOLD, REFUSED, Ticket
from headgate.roles import carriers
from headgate.roles.choose import open_engine
from tests.support.contract import LIMITS, eventually, settle, spec
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


async def test_a_queue_that_is_paused_sends_no_tickets_and_holds_up_no_other(office: Office) -> None:
    await office.engine.operations.set_queue("bulk", paused=True)
    waiting = await office.put(3, queue="bulk")
    others = await office.put(2)
    await office.until_sent(*others)
    await office.clock.advance(10.0)
    assert not set(waiting) & set(office.carrier.jobs)
    await office.engine.operations.set_queue("bulk", paused=False)
    await office.clock.advance(4.0)
    await office.until_sent(*waiting)


async def test_slots_bound_what_runs_at_a_carrier(office: Office) -> None:
    await office.engine.operations.set_queue("default", slots=1)
    first, second = await office.put(2)
    await office.until_sent(first)
    claim = await office.engine.claim_one("rq-1", first)
    assert claim is not None
    await office.clock.advance(6.0)
    assert office.carrier.jobs == [first]
    assert await office.engine.claim_one("rq-2", second) is None, "an old ticket is no way around it"
    assert await settle(office.engine, claim)
    await office.clock.advance(4.0)
    await office.until_sent(second)
    assert await office.engine.claim_one("rq-2", second)


async def test_a_ticket_that_comes_while_its_queue_is_paused_is_sent_again(office: Office) -> None:
    [job] = await office.put(1)
    await office.until_sent(job)
    await office.engine.operations.set_queue("default", paused=True)
    assert await office.engine.claim_one("rq-1", job) is None
    record = await office.engine.jobs.get(job)
    assert record is not None
    assert (record.state, record.tries) == (JobState.QUEUED, 0)
    await office.engine.operations.set_queue("default", paused=False)
    await office.clock.advance(4.0)
    first, again = office.carrier.tickets
    assert first.name != again.name
    assert await office.engine.claim_one("rq-1", job)


async def test_a_rate_bounds_what_carriers_start(office: Office) -> None:
    await office.engine.operations.set_queue("default", rate=0.5)
    first, second = await office.put(2)
    await office.until_sent(first)
    assert await office.engine.claim_one("rq-1", first)
    assert await office.engine.claim_one("rq-1", second) is None
    await office.clock.advance(6.0)
    await office.until_sent(second)
    assert await office.engine.claim_one("rq-1", second)


async def test_a_job_that_would_never_be_sent_is_refused(redis: str) -> None:
    for carrier, setting in (("rq", "rq_url"), ("celery", "celery_app")):
        engine = open_engine(redis, "nowhere", Settings(), carries=True)
        assert isinstance(engine, RedisEngine)
        engine.refuse(carriers.unreachable("redis+sentinel://127.0.0.1:1/main", Settings()))
        await engine.open()
        with pytest.raises(ConfigError, match=setting):
            await engine.sink.put([spec(carrier=carrier)])
        await engine.close()


@pytest.mark.parametrize(
    ("url", "given", "found"),
    [
        ("redis://h:1/2?namespace=shop&ssl_ca_certs=/ca", "", "redis://h:1/2?ssl_ca_certs=%2Fca"),
        ("valkeys://u:p@h", "", "rediss://u:p@h"),
        ("redis+sentinel://h/main", "", ""),
        ("redis+unix:///s", "", ""),
        ("redis+cluster://h", "valkey://q:1/0?db=3", "redis://q:1/0?db=3"),
        ("embedded", "unix:///s?db=1", "unix:///s?db=1"),
    ],
)
async def test_where_rq_works(url: str, given: str, found: str) -> None:
    assert carriers.rq_url(url, Settings(rq_url=given)) == found
    assert ("rq" in carriers.unreachable(url, Settings(rq_url=given))) is not bool(found)
