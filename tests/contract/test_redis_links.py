"""The ways to a Redis: TLS, a user with few rights, a Unix socket, a server that moves; and which scripts it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis as plain

from headgate.base.channels import ChannelNames
from headgate.base.errors import ConfigError, EngineGone, Unavailable
from headgate.base.model import JobState
from headgate.drivers.redis import RedisEngine
from tests.support.certificates import certificate
from tests.support.contract import collect, eventually, put, settle, take
from tests.support.redis import Redis, oldest
from tests.support.wait import free_port

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[RedisEngine]:
    engine = RedisEngine(url, **options)
    await engine.open()
    try:
        yield engine
    finally:
        await engine.close()


async def works(engine: RedisEngine) -> None:
    """A job goes all the way, with its stream, and a message is heard."""
    job = await put(engine)
    (claim,) = await take(engine)
    await settle(engine, claim)
    assert [event.kind for event in await collect(engine, f"jobs/{job.id}")] == ["queued", "started", "result"]
    names = ChannelNames()
    names.add("room")
    heard = engine.channels.subscribe(names)
    first = None

    async def is_heard() -> bool:
        nonlocal first
        first = first or asyncio.ensure_future(anext(heard))
        await engine.channels.publish("room", b"x")
        return first.done()

    await eventually(is_heard, "the message")
    await heard.aclose()  # type: ignore[attr-defined]


async def test_over_tls_with_the_certificate_checked(tmp_path: Path) -> None:
    made, port = certificate(tmp_path), str(free_port())
    options = {"tls-port": port, "tls-cert-file": str(made.cert), "tls-key-file": str(made.key)}
    with Redis({**options, "tls-auth-clients": "no"}):
        async with opened(f"rediss://127.0.0.1:{port}?ssl_ca_certs={made.cert}") as engine:
            await works(engine)
        with pytest.raises(Unavailable, match="certificate"):
            await RedisEngine(f"rediss://127.0.0.1:{port}").open()


async def test_a_user_with_the_rights_that_the_documents_name() -> None:
    with Redis() as server:
        rights = "resetkeys ~{shop}:* resetchannels &{shop}:* -@all +@read +@write +@scripting +@pubsub +@connection"
        rights += " +info +time"
        with server.client() as client:
            client.execute_command("ACL", "SETUSER", "ada", "on", ">secret", *rights.split())
        url = f"redis://ada:secret@127.0.0.1:{server.port}/0?namespace=shop"
        async with opened(url) as engine:
            await works(engine)
            assert "every" in (await engine.worth()).words or (await engine.worth()).warnings
        with pytest.raises(Unavailable, match="invalid username"):
            await RedisEngine(url.replace("secret", "wrong")).open()
        with pytest.raises(ConfigError, match="may not"):
            await RedisEngine(url.replace("=shop", "=other")).open()


@pytest.mark.parametrize("binary", [None, oldest()])
async def test_a_user_without_its_channels_is_told_at_the_start(binary: str | None) -> None:
    with Redis(binary=binary) as server, server.client() as client:
        client.execute_command("ACL", "SETUSER", "ada", "on", ">secret", "~*", "+@all", "resetchannels", "&other:*")
        with pytest.raises(ConfigError, match="may not"):
            await RedisEngine(f"redis://ada:secret@127.0.0.1:{server.port}/0").open()
        client.execute_command("ACL", "SETUSER", "ada", "allchannels", "-publish")
        with pytest.raises(ConfigError, match="may not"):
            await RedisEngine(f"redis://ada:secret@127.0.0.1:{server.port}/0").open()


async def test_a_refused_subscription_does_not_take_the_answer_of_another_request() -> None:
    with Redis() as server, server.client() as client:
        client.execute_command("ACL", "SETUSER", "ada", "on", ">secret", "~*", "+@all", "allchannels")
        async with opened(f"redis://ada:secret@127.0.0.1:{server.port}/0") as engine:
            link = engine._redis.link
            line = link._line
            assert line is not None
            client.execute_command("ACL", "SETUSER", "ada", "-subscribe")
            before = line.call("ECHO", "before")
            link.subscribe(["{headgate}:>c:room"], True)
            after = line.call("ECHO", "after")
            assert await before == b"before"
            with pytest.raises(EngineGone, match="refused SUBSCRIBE"):
                await after
            client.execute_command("ACL", "SETUSER", "ada", "+subscribe")
            await works(engine)


async def test_a_channel_that_is_left_and_heard_again_at_once_keeps_the_connection(redis_cluster: str) -> None:
    async with opened(redis_cluster + "?namespace=again") as engine:
        link = engine._redis.link
        for wanted in (True, False, True, False, True):
            link.subscribe(["{again}:>c:room", "{again}:>c:hall"], wanted)
        assert await link.ask("ECHO", "after") == b"after"
        await works(engine)
        assert link.reconnects == 0


async def test_over_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with Redis({"unixsocket": str(path)}):
        async with opened(f"redis+unix://{path}") as engine:
            await works(engine)


async def test_each_server_runs_what_it_can(redis: str, redis_6_2: str, redis_cluster: str) -> None:
    for url, kind, sharded in (
        (redis, "functions", False),
        (redis_6_2, "scripts", False),
        (redis_cluster, "functions", True),
    ):
        async with opened(url + "?namespace=kinds") as engine:
            assert engine.status()["scripts"] == kind
            assert engine._redis.link.scripts.sharded is sharded
            await works(engine)


async def test_a_valkey_is_called_so(valkey: str) -> None:
    async with opened(valkey + "?namespace=name") as engine:
        assert engine.status()["server"].startswith("Valkey ")
        assert engine.status()["scripts"] == "functions"


async def test_functions_that_were_flushed_are_loaded_again(redis: str) -> None:
    async with opened(redis + "?namespace=flushed") as engine:
        await engine._redis.link.ask("FUNCTION", "FLUSH")
        await works(engine)


async def test_wait_replicas_that_are_not_there_refuse_the_put(redis: str) -> None:
    async with opened(redis + "?namespace=alone&wait_replicas=1&wait_timeout=0.1") as engine:
        with pytest.raises(Unavailable, match="0 of 1 replicas"):
            await put(engine)


async def test_a_replica_is_no_engine() -> None:
    with Redis() as master, Redis({"replicaof": f"127.0.0.1 {master.port}"}) as replica:
        engine = RedisEngine(replica.url)
        with pytest.raises(Unavailable, match="replica"):
            await engine.open()


@pytest.mark.parametrize("binary", [None, oldest()])
async def test_a_master_that_became_a_replica_is_left_for_the_one_that_is_master_now(binary: str | None) -> None:
    with Redis(binary=binary) as server, Redis(binary=binary) as other, server.client() as client:
        async with opened(server.url) as engine:
            client.replicaof("127.0.0.1", other.port)
            putting = asyncio.ensure_future(put(engine))

            async def is_sought() -> bool:
                return "replica" in str(engine._redis.link.trouble)

            await eventually(is_sought, "the connection is given up")
            client.replicaof("no", "one")
            job = await putting
            assert [claim.job.id for claim in await take(engine)] == [job.id]


async def test_an_engine_that_could_not_be_opened_can_be_opened_later() -> None:
    with Redis() as server:
        server.kill()
        engine = RedisEngine(server.url)
        with pytest.raises(Unavailable, match="no Redis answers"):
            await engine.open()
        await asyncio.to_thread(server.restart)
        await engine.open()
        await works(engine)
        await engine.close()


async def test_a_client_finds_its_server_again_and_misses_nothing() -> None:
    with Redis({"appendonly": "yes"}) as server:
        async with opened(server.url) as engine:
            job = await put(engine)
            (claim,) = await take(engine)
            following = asyncio.ensure_future(collect(engine, f"jobs/{job.id}"))
            waiting = asyncio.ensure_future(engine.source.take("w2", ["*"], 1))
            await engine.jobs.stats()
            server.kill()
            await asyncio.to_thread(server.restart)
            assert await settle(engine, claim)
            assert [event.offset for event in await asyncio.wait_for(following, 20)] == [1, 2, 3]
            second = await put(engine)
            assert [one.job.id for one in await asyncio.wait_for(waiting, 20)] == [second.id]
            assert engine.status()["reconnects"] == 1


async def test_a_put_of_what_is_known_writes_so_that_its_replicas_can_be_waited_for(redis: str) -> None:
    """WAIT speaks of what its own connection has written, and the job was written on another one."""
    url = redis + "?namespace=known"
    async with opened(url) as first, opened(url + "&wait_replicas=1&wait_timeout=0.1") as second:
        job = await put(first)
        await first.sink.put([job])
        with plain.Redis.from_url(redis) as server:
            assert not server.exists("{known}:seen")
            with pytest.raises(Unavailable, match="0 of 1 replicas"):
                await second.sink.put([job])
            assert server.exists("{known}:seen")


@pytest.mark.parametrize(("binary", "kind"), [(None, "functions"), (oldest(), "scripts")])
async def test_a_server_that_is_full_takes_a_new_client_which_ends_work(binary: str | None, kind: str) -> None:
    with Redis({"maxmemory-policy": "noeviction"}, binary) as server, server.client() as client:
        async with opened(server.url) as old:
            job = await put(old)
            (claim,) = await take(old)
        client.config_set("maxmemory", 1)
        async with opened(server.url) as fresh:
            assert fresh.status()["scripts"] == kind
            with pytest.raises(Unavailable, match="maxmemory"):
                await put(fresh)
            assert await settle(fresh, claim)
            assert [event.kind for event in await collect(fresh, f"jobs/{job.id}")] == ["queued", "started", "result"]
            assert await fresh.operations.purge([JobState.SUCCEEDED], older=0.0) == 1
            assert await fresh.jobs.get(job.id) is None
