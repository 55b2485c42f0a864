"""WebSockets through a gateway, with app workers played by the test."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from headgate.base.model import NewEvent
from headgate.drivers.memory.engine import MemoryEngine
from headgate.gateway import codes
from headgate.gateway.wire import text_frame
from headgate.link.messages import (
    Accept,
    Answer,
    Bounce,
    Cancel,
    Closed,
    Consumed,
    Effect,
    Effects,
    Fail,
    Feed,
    Hangup,
    Message,
    Open,
    Push,
    Reject,
)
from headgate.link.session import gateway_session
from tests.process.gateway_clients import HANDSHAKE, client, close_code, receive
from tests.process.gateway_rig import FakeWorker, Rig, quick, until

pytestmark = pytest.mark.anyio


# native sockets


async def test_messages_are_answered_with_their_handshake_and_state() -> None:
    async with Rig() as rig:
        worker = await rig.worker()

        def count(message: Message) -> None:
            state = {"n": message.state.get("n", 0) + 1}
            worker.send(Answer(message.stream, message.handler, f"{state['n']}", state, [], 0.001))

        worker.on_message = count
        async with client(rig, "/ws?room=7", additional_headers={"Cookie": "session=a"}) as sock:
            for number in range(1, 4):
                await sock.send("hello")
                assert await receive(sock) == str(number)
        messages = worker.seen(Message)
        assert {message.scope.query for message in messages} == {b"room=7"}
        assert (b"cookie", b"session=a") in messages[0].scope.headers
        end = await worker.next(Message, 4)
        assert (end.kind, end.code, end.state, end.handler) == ("disconnect", 1000, {"n": 3}, "ws /ws:disconnect")
        await until(lambda: not rig.gateway.sockets.connections, "it is forgotten")
        await until(lambda: rig.gateway.app.connections == 0, "it is not counted any more")


async def test_the_event_of_a_message_is_part_of_its_handlers_name() -> None:
    async with Rig(lane={"ws /ws": "fast", "ws /ws:quick": "fast"}) as rig:
        fast, slow = await rig.worker("f"), await rig.worker("s", "slow")
        async with client(rig) as sock:
            await sock.send('{"type":"quick"}')
            await sock.send('{"type":"heavy"}')
            await sock.send("neither")
            assert [await receive(sock) for _ in range(3)] == ['{"type":"quick"}', '{"type":"heavy"}', "neither"]
        assert [one.handler for one in fast.seen(Message) if one.kind == "message"] == ["ws /ws:quick"]
        assert [one.handler for one in slow.seen(Message)][:2] == ["ws /ws:heavy", "ws /ws:message"]


async def test_messages_of_a_connection_run_one_at_a_time_and_in_order() -> None:
    async with Rig() as rig:
        worker = await rig.worker(slots=8)
        worker.on_message = worker.hold
        async with client(rig) as sock, client(rig) as other:
            for number in range(5):
                await sock.send(str(number))
            await other.send("other")
            await worker.next(Message, 2)
            assert {one.data for one in worker.seen(Message)} == {"0", "other"}
            worker.on_message = worker.echo
            for one in worker.seen(Message)[:2]:
                worker.echo(one)
            assert [await receive(sock) for _ in range(5)] == list("01234")
            assert await receive(other) == "other"


async def test_a_concurrent_socket_runs_them_together() -> None:
    async with Rig() as rig:
        worker = await rig.worker(slots=8)
        worker.on_open = lambda one: worker.send(
            Accept(one.stream, True, one.handler, None, [], {}, {"concurrent": True, "disconnect": False}, [], 0.0)
        )
        worker.on_message = worker.hold
        async with client(rig) as sock:
            for number in range(3):
                await sock.send(str(number))
            await worker.next(Message, 3)
            for one in reversed(worker.seen(Message)):
                worker.echo(one)
            assert [await receive(sock) for _ in range(3)] == list("210")


async def test_messages_sent_before_the_end_are_handled_before_it() -> None:
    async with Rig() as rig:
        worker = await rig.worker()
        worker.on_message = worker.hold
        async with client(rig) as sock:
            for word in ("save", "and", "go"):
                await sock.send(word)
            await worker.next(Message)
        for number in range(1, 5):
            worker.echo(await worker.next(Message, number))
        assert [one.data for one in worker.seen(Message)] == ["save", "and", "go", None]
        assert worker.seen(Message)[-1].kind == "disconnect"


async def test_a_lost_worker_costs_a_native_socket_one_answer() -> None:
    async with Rig() as rig:
        doomed = await rig.worker("doomed")
        doomed.on_message = doomed.hold
        async with client(rig) as sock:
            await sock.send('{"id":5,"work":1}')
            await sock.send('{"id":6,"work":2}')
            await doomed.next(Message)
            heir = await rig.worker("heir")
            await doomed.die()
            assert json.loads(await receive(sock)) == {"headgate": "error", "id": 5, "error": "worker_lost"}
            assert await receive(sock) == '{"id":6,"work":2}'
            assert len(heir.seen(Message)) == 1


async def test_a_full_lane_is_told() -> None:
    async with Rig(queue_length=0, lane={"ws /ws": "fast"}) as rig:
        await rig.worker("f")
        async with client(rig) as sock:
            await sock.send('{"id":1}')
            answer = json.loads(await receive(sock))
            assert (answer["error"], answer["id"]) == ("busy", 1)
            assert answer["retry_after"] >= 1
            assert rig.limited() == {"queue_length": 1}


async def test_more_messages_than_the_inbox_takes_are_refused_one_by_one() -> None:
    async with Rig(inbox=3) as rig:
        worker = await rig.worker()
        worker.on_message = worker.hold
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(HANDSHAKE)
        await quick(reader.readuntil(b"\r\n\r\n"))
        writer.write(b"".join(b"\x81\x88\0\0\0\0" + b'{"id":%d}' % number for number in range(8)))
        for _ in range(4):  # one is at the worker, three wait
            await quick(reader.readuntil(b'"busy"'))
        assert rig.limited() == {"inbox": 4}
        writer.close()


async def test_a_failed_message_is_told_and_the_connection_kept() -> None:
    async with Rig() as rig:
        worker = await rig.worker()
        worker.on_message = lambda one: worker.send(Fail(one.stream, one.handler, "e-1", 0.0))
        async with client(rig) as sock:
            await sock.send('{"id":1}')
            assert json.loads(await receive(sock)) == {
                "headgate": "error", "id": 1, "error": "internal", "error_id": "e-1",
            }  # fmt: skip
            worker.on_message = worker.echo
            await sock.send("still here")
            assert await receive(sock) == "still here"


async def test_a_flood_is_held_back_and_no_message_is_lost() -> None:
    async with Rig(inbox=8) as rig:
        worker = await rig.worker()
        async with client(rig) as sock:

            async def flood() -> None:
                for number in range(3_000):
                    await sock.send(json.dumps({"id": number, "pad": "x" * 500}))

            flooding = asyncio.create_task(flood())
            answered: list[Any] = []
            while len(answered) < 3_000:
                answered.append(json.loads(await receive(sock)))
            await quick(flooding)
        handled = [json.loads(one.data)["id"] for one in worker.seen(Message) if one.kind == "message"]
        refused = [one["id"] for one in answered if one.get("error") == "busy"]
        assert handled == sorted(handled)
        assert sorted(handled + refused) == list(range(3_000))


# handshakes


async def test_an_app_may_refuse() -> None:
    async with Rig() as rig:
        worker = await rig.worker()
        worker.on_open = lambda one: worker.send(Reject(one.stream, 403, [(b"x-why", b"no")], b"not you", one.handler))
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with client(rig):
                pass
        response = refused.value.response
        assert (response.status_code, response.headers["x-why"], response.body) == (403, "no", b"not you")


@pytest.mark.parametrize("how", ["fail", "die", "expire"])
async def test_a_handshake_that_cannot_be_decided_is_answered(how: str) -> None:
    async with Rig(queue_age=0.2) as rig:
        worker = await rig.worker(slots=1)
        worker.on_open = worker.hold
        first = asking = asyncio.create_task(quick(client(rig).__aenter__()))
        handshake = await worker.next(Open)
        if how == "expire":
            asking = asyncio.create_task(quick(client(rig).__aenter__()))
        elif how == "die":
            await worker.die()
        else:
            worker.send(Fail(handshake.stream, handshake.handler, "e-9", 0.0))
        with pytest.raises(websockets.InvalidStatus) as refused:
            await asking
        assert refused.value.response.status_code == (500 if how == "fail" else 503)
        if how == "expire":
            worker.accept(handshake)
            await (await first).close()


async def test_a_bounced_handshake_goes_to_the_slow_lane() -> None:
    async with Rig() as rig:
        fast, slow = await rig.worker("f"), await rig.worker("s", "slow")
        fast.on_open = lambda one: fast.send(Bounce(one.stream, one.handler))
        async with client(rig) as sock:
            await sock.send("x")
            assert await receive(sock) == "x"
        assert len(slow.seen(Open)) == 1


async def test_subprotocol_headers_and_effects_of_the_handshake() -> None:
    async with Rig() as rig:
        worker = await rig.worker()
        worker.on_open = lambda one: worker.send(
            Accept(
                one.stream, True, one.handler, "chat", [(b"x-a", b"1"), (b"upgrade", b"h2c")], {"k": 1}, {},
                [Effect("send", "welcome"), Effect("json", {"a": 1})], 0.0,
            )
        )  # fmt: skip
        async with client(rig, subprotocols=["other", "chat"]) as sock:
            assert sock.subprotocol == "chat"
            assert sock.response is not None
            assert sock.response.headers["x-a"] == "1"
            assert sock.response.headers.get_all("upgrade") == ["websocket"]
            assert [await receive(sock), await receive(sock)] == ["welcome", '{"a":1}']
            assert worker.seen(Open)[0].scope.subprotocols == ["other", "chat"]


async def test_a_subprotocol_that_the_client_does_not_offer_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    async with Rig() as rig:
        worker = await rig.worker()
        told = Accept(0, True, "ws /ws", "chat", [], {}, {}, [], 0.0)
        worker.on_open = lambda one: worker.send(msgspec.structs.replace(told, stream=one.stream))
        for offered in (["other"], None):
            async with client(rig, subprotocols=offered) as sock:
                assert sock.subprotocol is None
        assert "chose the subprotocol 'chat'" in caplog.text


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        (("*",), "https://evil.example", True),
        (("https://good.example",), "https://good.example", True),
        (("https://good.example",), "https://evil.example", False),
        (("https://good.example",), None, True),
        (("self",), "https://evil.example", False),
    ],
)
async def test_origins(origins: tuple[str, ...], origin: Any, allowed: bool) -> None:
    async with Rig(origins=origins) as rig:
        await rig.worker()
        asking = client(rig, origin=origin)
        if allowed:
            async with asking as sock:
                await sock.send("x")
                assert await receive(sock) == "x"
        else:
            with pytest.raises(websockets.InvalidStatus):
                await quick(asking.__aenter__())


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"Version: 13", b"Version: 12", 426),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"short", 400),
        (b"Sec-WebSocket-Key", b"X-Key", 400),
        (b"GET /ws", b"GET /-/ws", 404),
        (b"GET", b"POST", 405),
    ],
)
async def test_bad_handshakes(old: bytes, new: bytes, status: int) -> None:
    async with Rig() as rig:
        worker = await rig.worker()
        answer = await rig.talk(HANDSHAKE.replace(old, new))
        assert answer.startswith(b"HTTP/1.1 %d " % status), answer
        assert worker.seen(Open) == []
        await until(lambda: rig.gateway.app.connections == 0, "no connection is left over")


async def test_a_client_that_leaves_during_the_handshake() -> None:
    async with Rig() as rig:
        worker = await rig.worker(slots=1)
        worker.on_open = worker.hold
        _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(HANDSHAKE)
        handshake = await worker.next(Open)
        writer.close()
        await worker.next(Cancel)
        worker.accept(handshake)
        worker.on_open = worker.accept
        async with client(rig) as sock:
            await sock.send("x")
            assert await receive(sock) == "x"


# frames that the protocol does not allow (RFC 6455 §5)


def masked(first: int, payload: bytes, *, length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    head = bytes([first, 0x80 | size]) if size < 126 else bytes([first, 0xFE]) + size.to_bytes(2, "big")
    return head + b"\x00\x00\x00\x00" + payload


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (b"\x81\x02hi", 1002),  # not masked
        (masked(0xC1, b"hi"), 1002),  # a reserved bit
        (masked(0x83, b"hi"), 1002),  # a reserved opcode
        (masked(0x80, b"hi"), 1002),  # a continuation of nothing
        (masked(0x01, b"hi") + masked(0x81, b"hi"), 1002),  # a message within a message
        (masked(0x09, b"x"), 1002),  # a ping in fragments
        (masked(0x89, b"x" * 126), 1002),  # a ping over 125 bytes
        (masked(0x88, b"\x03"), 1002),  # half a close code
        (masked(0x88, b"\x03\xed"), 1002),  # close code 1005
        (masked(0x81, b"\xff\xfe"), 1007),  # text that is not UTF-8
        (masked(0x81, b"\xff") + masked(0x83, b"hi"), 1002),  # two wrongs: the parser is ahead of the messages
        (masked(0x88, b"\x03\xe8\xff"), 1007),  # a reason that is not UTF-8
    ],
)
async def test_bad_frames_end_the_connection_with_their_code(frames: bytes, code: int) -> None:
    async with Rig() as rig:
        worker = await rig.worker()
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(HANDSHAKE)
        await quick(reader.readuntil(b"\r\n\r\n"))
        writer.write(frames)
        head = await quick(reader.readexactly(4))
        assert head[0] == 0x88
        assert int.from_bytes(head[2:4], "big") == code
        writer.close()
        end = await worker.next(Message)
        assert end.kind == "disconnect"
        await until(lambda: rig.gateway.app.connections == 0, "no connection is left over")


async def test_fragments_with_a_ping_between_them() -> None:
    async with Rig() as rig:
        await rig.worker()
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(HANDSHAKE)
        await quick(reader.readuntil(b"\r\n\r\n"))
        writer.write(masked(0x01, b"he") + masked(0x00, b"") + masked(0x89, b"p") + masked(0x80, b"llo"))
        assert await quick(reader.readexactly(10)) == b"\x8a\x01p\x81\x05hello"
        writer.close()


async def test_a_message_over_the_bound_closes_with_1009() -> None:
    async with Rig(max_message=1000) as rig:
        await rig.worker()
        async with client(rig) as sock:
            await sock.send("x" * 1000)
            assert len(await receive(sock)) == 1000
            await sock.send("x" * 1001)
            assert await close_code(sock) == codes.TOO_BIG
        assert rig.limited() == {"max_message": 1}


# loop sockets


async def loop_socket(rig: Rig) -> tuple[FakeWorker, Any, ClientConnection]:
    worker = await rig.worker("s", "slow")
    worker.on_open = lambda one: worker.accept(one, native=False)
    sock = await quick(client(rig, "/loop").__aenter__())
    return worker, (await worker.next(Open)).stream, sock


async def test_a_loop_is_fed_as_far_as_it_takes() -> None:
    async with Rig(inbox=8) as rig:
        worker, stream, sock = await loop_socket(rig)
        sending = asyncio.create_task(quick(asyncio.gather(*[sock.send(str(number)) for number in range(200)])))
        await worker.next(Feed, 8)
        await asyncio.sleep(0.05)
        assert len(worker.seen(Feed)) == 8
        while len(worker.seen(Feed)) < 200:
            before = len(worker.seen(Feed))
            worker.send(Consumed(stream, 4))
            await worker.next(Feed, before + 1)
        await sending
        worker.send(Consumed(stream, 8))
        assert [one.data for one in worker.seen(Feed)] == [str(number) for number in range(200)]
        await sock.close()
        closed = await worker.next(Closed)
        assert (closed.stream, closed.code) == (stream, 1000)
        worker.send(Hangup(stream, 1000, ""))
        await until(lambda: not rig.gateway.exchange.links["s"].streams, "the stream has ended")


async def test_a_loop_pushes_and_hangs_up() -> None:
    async with Rig() as rig:
        worker, stream, sock = await loop_socket(rig)
        worker.send(Push(stream, "text"))
        worker.send(Push(stream, b"\x00"))
        worker.send(Hangup(stream, 4001, "enough"))
        assert [await receive(sock), await receive(sock)] == ["text", b"\x00"]
        assert await close_code(sock) == 4001
        assert sock.close_reason == "enough"
        assert worker.seen(Closed) == [], "the loop has ended it itself"


async def test_a_lost_worker_ends_its_loops_with_a_hint() -> None:
    async with Rig() as rig:
        worker, _, sock = await loop_socket(rig)
        await worker.die()
        assert await close_code(sock) == codes.RESTART
        assert "retry in" in (sock.close_reason or "")


async def test_a_loops_handler_is_held_in_the_slow_lane() -> None:
    async with Rig() as rig:
        await loop_socket(rig)
        profile = rig.gateway.exchange.learner.profiles()["ws *"]
        assert (profile.fast, profile.why) == (False, "a loop: each connection keeps a thread")


# channels and streams


async def test_a_publication_reaches_all_who_joined() -> None:
    engine = MemoryEngine()
    async with Rig(engine) as rig:
        worker = await rig.worker()
        worker.on_open = lambda one: worker.accept(one, effects=[Effect("join", "news")])
        async with client(rig) as first, client(rig) as second:
            await until(lambda: len(rig.gateway.channels) == 1, "joined")
            await until(lambda: rig.gateway.unready() != "the broker does not answer yet", "the engine is open")
            async with asyncio.timeout(10):
                while True:  # the subscription begins soon after
                    await engine.channels.publish("news", msgspec.msgpack.encode('{"x":1}'))
                    try:
                        assert await asyncio.wait_for(first.recv(), 0.1) == '{"x":1}'
                        break
                    except TimeoutError:
                        continue
            assert await receive(second) == '{"x":1}'
            worker.send(Effects(worker.seen(Open)[1].connection, [Effect("leave", "news"), Effect("send", "left")]))
            assert await receive(second) == "left"
            await engine.channels.publish("news", msgspec.msgpack.encode(b"\x01"))
            assert await receive(first) == b"\x01"
        await until(lambda: len(rig.gateway.channels) == 0, "nobody is left")


async def test_a_followed_stream_comes_whole_and_in_order() -> None:
    engine = MemoryEngine()
    async with Rig(engine) as rig:
        worker = await rig.worker()
        await until(lambda: rig.gateway.unready() != "the broker does not answer yet", "the engine is open")
        await engine.streams.append("s", [NewEvent("log", number) for number in range(5)])
        worker.on_open = lambda one: worker.accept(one, effects=[Effect("follow", ["s", 2])])
        async with client(rig) as sock:
            got = [json.loads(await receive(sock)) for _ in range(3)]
            await engine.streams.append("s", [NewEvent("result", {"result": 1}, terminal=True)])
            got.append(json.loads(await receive(sock)))
        assert [one["offset"] for one in got] == [f"{number:016d}" for number in range(3, 7)]
        assert got[-1] == {
            "headgate": "event", "stream": "s", "offset": f"{6:016d}", "event": "result",
            "data": {"result": 1}, "terminal": True,
        }  # fmt: skip
        assert len(rig.gateway.follows) == 0


# slow clients, silent clients, the end


async def test_a_client_that_does_not_read_costs_a_bound_and_is_closed_when_it_must_be() -> None:
    async with Rig(outbox_bytes=100_000) as rig:
        worker = await rig.worker()
        _, writer = await asyncio.open_connection("127.0.0.1", rig.port, limit=1_000)
        writer.write(HANDSHAKE)
        handshake = await worker.next(Open)
        sockets = rig.gateway.sockets
        connection = await until(lambda: sockets.connections.get(handshake.connection), "the connection")
        frame = text_frame(b"x" * 10_000)
        for _ in range(3_000):  # 30 MB on a channel
            connection.published(frame)
            await asyncio.sleep(0)
        assert connection._outbox is not None
        assert connection._outbox.bytes <= 50_000
        assert connection.wire.buffered() <= 100_000
        assert connection._outbox.dropped > 2_000
        assert connection.wire.open
        for _ in range(20):  # what must not be dropped
            connection.send("y" * 10_000)
        await until(lambda: sockets.closed_slow == 1, "it is given up")
        assert rig.limited() == {"outbox_bytes": 1}
        assert not connection.wire.open
        writer.close()
        await until(lambda: rig.gateway.app.connections == 0, "nothing is left of it")


async def test_an_answer_that_is_not_read_in_time_closes_however_small() -> None:
    async with Rig(outbox_age=1) as rig:
        worker = await rig.worker()
        _, writer = await asyncio.open_connection("127.0.0.1", rig.port, limit=1_000)
        writer.write(HANDSHAKE)
        handshake = await worker.next(Open)
        connection = await until(lambda: rig.gateway.sockets.connections.get(handshake.connection), "the connection")
        while connection._outbox is None:  # the kernel's buffers are full
            connection.send("y" * 100_000)
            await asyncio.sleep(0)
        await until(lambda: rig.gateway.sockets.closed_slow == 1, "it is given up")
        assert rig.limited() == {"outbox_age": 1}
        writer.close()


async def test_a_silent_client_is_found_and_a_quiet_one_kept() -> None:
    async with Rig(ping_interval=1, ping_timeout=1) as rig:
        worker = await rig.worker()
        _, silent = await asyncio.open_connection("127.0.0.1", rig.port)
        silent.write(HANDSHAKE)
        async with client(rig) as quiet:
            await worker.next(Open, 2)
            await until(lambda: rig.gateway.sockets.closed_silent == 1, "the silent one is closed")
            await quiet.send("x")
            assert await receive(quiet) == "x"
        silent.close()


async def test_a_stop_closes_sockets_with_1012_and_a_hint() -> None:
    async with Rig() as rig:
        worker = await rig.worker()
        socks = [await quick(client(rig).__aenter__()) for _ in range(5)]
        await rig.finish(3)
        assert [await close_code(sock) for sock in socks] == [codes.RESTART] * 5
        assert "retry in" in (socks[0].close_reason or "")
        await quick(worker.gone.wait())


async def test_a_broken_link_protocol_costs_that_worker_only() -> None:
    async with Rig() as rig:
        good = await rig.worker("good")
        bad = await rig.worker("bad")
        assert bad.link is not None
        bad.link._transport.write(gateway_session().encode(Cancel(1)))  # type: ignore[union-attr]  # a gateway's message
        await quick(bad.gone.wait())
        async with client(rig) as sock:
            await sock.send("x")
            assert await receive(sock) == "x"
        assert len(good.seen(Open)) == 1
