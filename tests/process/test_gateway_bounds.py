"""What a gateway bounds: handshakes, sockets by address and key, messages; and sessions, of which one stays."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import websockets

from headgate.drivers.memory.engine import MemoryEngine
from headgate.gateway import codes
from headgate.link.messages import Accept, Closed, Message, Open, Reject
from tests.process.gateway_clients import HANDSHAKE, client, close_code, receive
from tests.process.gateway_rig import Rig, quick, until

pytestmark = pytest.mark.anyio

# rates and counts


async def refused_with(rig: Rig) -> int:
    with pytest.raises(websockets.InvalidStatus) as refused:
        await quick(client(rig).__aenter__())
    return int(refused.value.response.status_code)


async def test_sockets_per_address_are_bounded_and_given_back() -> None:
    async with Rig(sockets_per_address=2) as rig:
        worker = await rig.worker()
        async with client(rig), client(rig):
            assert await refused_with(rig) == 429
            assert rig.limited() == {"sockets_per_address": 1}
            async with client(rig, additional_headers={"X-Forwarded-For": "198.51.100.7"}):
                pass
        await until(lambda: not rig.gateway.sockets.connections, "all are gone")
        worker.on_open = lambda one: worker.send(Reject(one.stream, 403, [], b"", one.handler))
        assert [await refused_with(rig) for _ in range(5)] == [403] * 5, "a refused handshake does not count"
        assert len(rig.gateway.sockets._addresses) == 0


async def test_handshakes_per_second_are_bounded() -> None:
    async with Rig(handshake_rate=0.5) as rig:
        await rig.worker()
        async with client(rig):
            assert await refused_with(rig) == 503
            assert rig.limited() == {"handshake_rate": 1}


async def test_messages_per_second_are_bounded() -> None:
    async with Rig(message_rate=0.5) as rig:
        await rig.worker()
        async with client(rig) as sock:
            await sock.send('{"id":1}')
            await sock.send('{"id":2}')
            answers = [json.loads(await receive(sock)) for _ in range(2)]
        refused = next(one for one in answers if "error" in one)
        assert (refused["id"], refused["error"]) == (2, "too_fast")
        assert rig.limited() == {"message_rate": 1}
        assert {"id": 1} in answers


# sessions


def named(session: str) -> str:
    return f"/ws?headgate-session={session}"


SESSION = "s-0123456789-abcdef"


async def test_a_new_connection_of_a_session_evicts_the_old_half_open_one() -> None:
    async with Rig() as rig:
        worker = await rig.worker()
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(HANDSHAKE.replace(b"/ws", named(SESSION).encode()))
        await worker.next(Open)
        await until(lambda: len(rig.gateway.sockets.sessions) == 1, "the first is there")
        async with client(rig, named(SESSION)) as second, client(rig, named("another-0123456789")) as other:
            bye = await quick(reader.readuntil(b"a newer connection"))
            assert codes.EVICTED.to_bytes(2) in bye
            ended = await quick(worker.next(Message))
            assert (ended.kind, ended.code) == ("disconnect", codes.EVICTED)
            for sock in (second, other):
                await sock.send("x")
                assert await receive(sock) == "x"
            assert rig.gateway.sockets.sessions.evicted == 1
            assert rig.gateway.report()["evicted"] == 1
        writer.close()
        await until(lambda: not rig.gateway.sockets.sessions, "nothing is left")


async def test_the_app_names_the_session_or_forbids_one() -> None:
    async with Rig() as rig:
        worker = await rig.worker()
        names: list[Any] = ["anna", "anna", ""]

        def accept(one: Open) -> None:
            worker.send(Accept(one.stream, True, one.handler, None, [], {}, {"session": names.pop(0)}, [], 0.001))

        worker.on_open = accept
        first = await quick(client(rig).__aenter__())
        second = await quick(client(rig, named(SESSION)).__aenter__())
        third = await quick(client(rig, named(SESSION)).__aenter__())
        assert await close_code(first) == codes.EVICTED
        await quick(asyncio.gather(second.ping(), third.ping()))
        assert len(rig.gateway.sockets.sessions) == 1
        for sock in (second, third):
            await sock.close()


async def test_a_loop_is_told_that_its_session_went_on_elsewhere_and_its_headers_are_for_the_gateway() -> None:
    async with Rig() as rig:
        worker = await rig.worker()

        def accept(one: Open) -> None:
            headers = [(b"x-headgate-session", b"anna"), (b"x-other", b"1")]
            worker.send(Accept(one.stream, False, one.handler, None, headers, {}, {}, [], 0.001))

        worker.on_open = accept
        first = await quick(client(rig).__aenter__())
        async with client(rig) as second:
            assert await close_code(first) == codes.EVICTED
            assert (await worker.next(Closed)).code == codes.EVICTED
            assert second.response is not None
            assert "x-headgate-session" not in second.response.headers
            assert second.response.headers["x-other"] == "1"


async def test_a_session_moves_between_gateways() -> None:
    engine = MemoryEngine()
    async with Rig(engine) as one, Rig(engine) as two:
        for rig in (one, two):
            await rig.worker()
            await until(lambda rig=rig: rig.gateway._engine_open, "the engine is open")  # type: ignore[misc]
        first = await quick(client(one, named(SESSION)).__aenter__())
        async with client(two, named(SESSION)) as second:
            assert await close_code(first) == codes.EVICTED
            await second.send("x")
            assert await receive(second) == "x"


async def test_sockets_per_key_of_the_app_are_bounded_and_given_back() -> None:
    async with Rig(sockets_per_key=2) as rig:
        worker = await rig.worker()
        keys = ["a", "a", "b", "a", "a"]

        def accept(one: Open) -> None:
            worker.send(Accept(one.stream, True, one.handler, None, [], {}, {"key": keys.pop(0)}, [], 0.001))

        worker.on_open = accept
        async with client(rig), client(rig), client(rig):
            assert await refused_with(rig) == 429
            assert rig.limited() == {"sockets_per_key": 1}
        await until(lambda: not rig.gateway.sockets.connections, "all are gone")
        assert len(rig.gateway.sockets._keys) == 0
        async with client(rig):
            pass


async def test_handshakes_under_way_are_bounded_and_the_refused_are_told_when_to_come() -> None:
    async with Rig(handshakes=2) as rig:
        worker = await rig.worker()
        worker.on_open = worker.hold
        opening = [asyncio.create_task(client(rig).__aenter__()) for _ in range(2)]
        await worker.next(Open, 2)
        with pytest.raises(websockets.InvalidStatus) as refused:
            await quick(client(rig).__aenter__())
        assert refused.value.response.status_code == 503
        assert int(refused.value.response.headers["Retry-After"]) >= 1
        assert rig.gateway.report()["handshakes"] == 2
        assert rig.limited() == {"handshakes": 1}
        for one in worker.seen(Open):
            worker.accept(one)
        worker.on_open = worker.accept
        socks = [await quick(task) for task in opening]
        async with client(rig):
            assert rig.gateway.report()["handshakes"] == 0
        for sock in socks:
            await sock.close()
