"""Bounds in bytes: what is too large is refused whole and says so, what is large is carried in parts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headgate.base.errors import TooLarge
from headgate.base.model import Failure, NewEvent, Outcome
from tests.support.contract import LIMITS, collect, put, said, settle, spec, take

pytestmark = pytest.mark.anyio


def blob(size: int) -> bytes:
    """msgpack of so many bytes."""
    return msgspec.msgpack.encode(bytes(size))


async def test_arguments_have_a_bound_and_a_put_is_refused_whole(rig: Any) -> None:
    large = msgspec.structs.replace(spec(), arguments=blob(LIMITS.arguments_bytes))
    with pytest.raises(TooLarge, match="nothing was enqueued"):
        await rig.engine.sink.put([spec(), large])
    assert await rig.engine.jobs.stats() == {}


async def test_a_put_larger_than_the_engine_takes_at_once_is_refused_and_does_no_harm(rig: Any) -> None:
    body = blob(900_000)
    many = [msgspec.structs.replace(spec(), arguments=body) for _ in range(LIMITS.queue_depth)]
    with pytest.raises(TooLarge):
        await rig.engine.sink.put(many)
    assert await rig.engine.jobs.stats() == {}
    await put(rig.engine)
    assert len(await take(rig.engine)) == 1


async def test_large_arguments_are_claimed_in_several_answers(rig: Any) -> None:
    body = blob(1_000_000)
    for _ in range(2):
        await rig.engine.sink.put([msgspec.structs.replace(spec(), arguments=body) for _ in range(20)])
    taken = 0
    while taken < 40:
        taken += len(await take(rig.engine, most=64))
    assert await rig.engine.jobs.stats() == {"default": {"running": 40}}


async def test_large_results_are_settled_all_the_same(rig: Any) -> None:
    for _ in range(50):
        await put(rig.engine)
    result = blob(1_000_000)
    claims = await take(rig.engine, most=50)
    settled = await rig.engine.source.settle("w1", [said(one, Outcome.SUCCEEDED, result=result) for one in claims])
    assert list(settled) == [True] * 50
    record = await rig.engine.jobs.get(claims[-1].job.id)
    assert record.result == result


async def test_a_checkpoint_has_a_bound(rig: Any) -> None:
    await put(rig.engine)
    (claim,) = await take(rig.engine)
    with pytest.raises(TooLarge, match="not stored"):
        await rig.engine.source.progress(claim.job.id, claim.job.epoch, [], bytes(LIMITS.checkpoint_bytes + 1))
    await rig.engine.source.progress(claim.job.id, claim.job.epoch, [], b"\x07")
    assert (await rig.engine.jobs.get(claim.job.id)).checkpoint == b"\x07"


async def test_events_that_are_packed_already_are_stored_as_they_are(rig: Any) -> None:
    await put(rig.engine)
    (claim,) = await take(rig.engine)
    events = [
        NewEvent("log", msgspec.Raw(msgspec.msgpack.encode({"message": "x"}))),
        NewEvent("progress", msgspec.Raw(msgspec.msgpack.encode({"done": 1}))),
    ]
    await rig.engine.source.progress(claim.job.id, claim.job.epoch, events)
    assert (await rig.engine.jobs.get(claim.job.id)).progress == {"done": 1}
    stored = (await rig.engine.streams.read(claim.job.stream, 0)).events
    assert [event.data for event in stored[-2:]] == [{"message": "x"}, {"done": 1}]


async def test_a_list_comes_without_what_may_be_large(rig: Any) -> None:
    job = await put(rig.engine, retries=1)
    (claim,) = await take(rig.engine)
    await rig.engine.source.progress(job.id, claim.job.epoch, [], b"\x07")
    await settle(rig.engine, claim, Outcome.GIVE_UP, failure=Failure("ValueError", "no such table", "Traceback …"))
    (listed,) = await rig.engine.jobs.find()
    assert (listed.spec.arguments, listed.checkpoint, listed.result) == (b"", None, None)
    assert listed.failure == Failure("ValueError", "no such table", "")
    whole = await rig.engine.jobs.get(job.id)
    assert (whole.spec.arguments, whole.checkpoint) == (job.arguments, b"\x07")
    assert whole.failure.traceback == "Traceback …"


async def test_a_page_of_large_events_has_a_bound_and_following_gets_them_all(rig: Any) -> None:
    streams, large = rig.engine.streams, "x" * 3_000_000
    for n in range(12):
        await streams.append("s", [NewEvent("data", [n, large])])
    await streams.append("s", [NewEvent("end", None, terminal=True)])
    first = await streams.read("s", 0)
    assert 1 <= len(first.events) < 12
    assert not first.ended
    assert first.next == first.events[-1].offset
    got = await collect(rig.engine, "s")
    assert [event.offset for event in got] == list(range(1, 14))
