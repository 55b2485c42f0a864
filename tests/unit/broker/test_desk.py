"""The desk: one transaction for all who wait, and what a request that fails does to the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from headgate.base.clock import ManualClock
from headgate.base.model import NewEvent
from headgate.drivers.embedded import wire
from headgate.drivers.embedded.wire import Message, Pushed
from headgate.drivers.local import accept
from headgate.drivers.local.desk import Desk
from headgate.drivers.local.store import MEMORY, Limits, Store
from tests.support.contract import spec

pytestmark = pytest.mark.anyio


class Client:
    """A peer that keeps what it is sent."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.got: list[Message] = []
        self.said: list[tuple[str, bytes]] = []

    def send(self, message: Message) -> None:
        self.got.append(message)

    def say(self, channel: str, payload: bytes) -> None:
        self.said.append((channel, payload))

    async def ask(self, request: Any) -> Any:
        self.desk.submit(self, request)
        for _ in range(10_000):
            answers = [reply for reply in self.got if reply.n == request.n and not isinstance(reply, Pushed)]
            if answers:
                return answers[0]
            await asyncio.sleep(0)
        raise AssertionError(f"no answer to {request}")

    def pushed(self, n: int) -> list[int]:
        """Offsets that came on a subscription."""
        batches = [reply.batch for reply in self.got if isinstance(reply, Pushed) and reply.n == n]
        return [event.offset for batch in batches for event in batch.events]


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    clock = ManualClock()
    made = Desk(Store(MEMORY, clock, Limits()), clock)
    made.start()
    await asyncio.sleep(0)
    yield made
    await made.stop()
    made.store.close()


async def test_what_waits_together_is_one_transaction(desk: Desk) -> None:
    client = Client(desk)
    await client.ask(wire.Stats(1))
    before = desk.batches
    for n in range(2, 40):
        desk.submit(client, wire.Put(n, [spec()]))
    await client.ask(wire.Stats(50))
    assert desk.batches == before + 1


async def test_a_put_and_the_claim_of_a_waiting_worker_are_one_transaction(desk: Desk) -> None:
    client = Client(desk)
    desk.submit(client, wire.Take(1, "w", ["*"], 1))
    await client.ask(wire.Stats(2))
    before = desk.batches
    await client.ask(wire.Put(3, [spec()]))
    assert desk.batches == before + 1
    assert any(isinstance(reply, wire.Claims) for reply in client.got)


async def test_a_request_that_makes_the_desk_fail_fails_alone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    client, real = Client(desk), accept.put

    def put(store: Store, specs: Any) -> Any:
        receipts = real(store, specs)
        if specs[0].function == "m:poison":
            raise ZeroDivisionError("half done")
        return receipts

    monkeypatch.setattr(accept, "put", put)
    for n, function in enumerate(["m:a", "m:poison", "m:b"], 1):
        desk.submit(client, wire.Put(n, [spec(function)]))
    stats = await client.ask(wire.Stats(9))
    assert stats.facts == {"default": {"queued": 2}}
    assert [type(reply) for reply in client.got[:3]] == [wire.Receipts, wire.Failed, wire.Receipts]


async def test_a_subscriber_that_grants_no_more_is_sent_no_more(desk: Desk) -> None:
    client = Client(desk)
    await client.ask(wire.Append(1, "s", [NewEvent("row", 0)]))
    await client.ask(wire.Follow(2, "s", 0))
    for n in range(10, 610):
        desk.submit(client, wire.Append(n, "s", [NewEvent("row", n)]))
    await client.ask(wire.Stats(3))
    assert client.pushed(2) == list(range(1, wire.WINDOW + 1))
    desk.submit(client, wire.More(2, 300))
    await client.ask(wire.Stats(4))
    await client.ask(wire.Stats(5))
    desk.submit(client, wire.More(2, 300))
    for n in range(700, 704):
        await client.ask(wire.Stats(n))
    assert client.pushed(2) == list(range(1, 602))


async def test_a_peer_that_is_gone_leaves_nothing_behind(desk: Desk) -> None:
    client, other = Client(desk), Client(desk)
    await client.ask(wire.Append(1, "s", [NewEvent("row", 0)]))
    await client.ask(wire.Follow(2, "s", 0))
    await client.ask(wire.Want(3, ["c"], True))
    await client.ask(wire.Put(4, [spec()]))
    await client.ask(wire.Take(5, "w", ["*"], 1))
    desk.submit(client, wire.Take(6, "w", ["*"], 1))
    desk.gone(client)
    assert (await other.ask(wire.Stats(1))).facts == {"default": {"queued": 1}}
    assert len(desk.subscriptions) == 0
    assert len(desk.waiting) == 0
    await other.ask(wire.Publish(2, "c", b"x"))
    assert client.said == []


async def test_a_worker_that_came_back_keeps_its_claims(desk: Desk) -> None:
    old, new = Client(desk), Client(desk)
    await old.ask(wire.Put(1, [spec(), spec()]))
    claims = (await old.ask(wire.Take(2, "w", ["*"], 2))).claims
    known = {claims[0].job.id: claims[0].job.epoch}
    desk.welcome(new, wire.Hello(1, wire.VERSION, "w", "w", known))
    desk.gone(old)
    # The claim that it had not heard of is free again; the one that it runs is not.
    assert (await new.ask(wire.Stats(2))).facts == {"default": {"queued": 1, "running": 1}}


async def test_a_rollback_forgets_what_was_counted(desk: Desk) -> None:
    store = desk.store
    store.begin()
    accept.put(store, [spec(), spec()])
    assert store.count("default", 1) == 2
    store.rollback()
    assert store.count("default", 1) == 0


async def test_an_append_that_is_repeated_appends_once(desk: Desk) -> None:
    """As after a reconnect: the same token from another connection, and with the broker started anew in between."""
    first, second = Client(desk), Client(desk)
    events = [NewEvent("log", 1), NewEvent("log", 2)]
    assert (await first.ask(wire.Append(1, "s", events, b"token"))).value == 2
    assert (await second.ask(wire.Append(9, "s", events, b"token"))).value == 2
    assert (await second.ask(wire.Append(10, "s", events, b"other"))).value == 4
    page = await second.ask(wire.Read(11, "s", 0, 10))
    assert [event.offset for event in page.batch.events] == [1, 2, 3, 4]
