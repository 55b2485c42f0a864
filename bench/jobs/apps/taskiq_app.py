"""The jobs on taskiq with Redis: a list as the queue, or with STREAM=1 a stream, whose messages are acknowledged."""

import asyncio
import os

import lines
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend, RedisStreamBroker

ASYNC = True
url = os.environ["REDIS_URL"]
if os.environ.get("STREAM"):
    # From the stream's start, so that jobs that came before the first worker are not passed over.
    broker = RedisStreamBroker(url, consumer_id="0", idle_timeout=15_000)
else:
    broker = ListQueueBroker(url)
broker = broker.with_result_backend(RedisAsyncResultBackend(url))


@broker.task
async def small(sent: float, text: str) -> None:
    lines.ran(sent)


@broker.task
async def crash() -> None:
    lines.begun()
    await asyncio.sleep(lines.CRASH_SECONDS)


async def start():
    await broker.startup()


async def stop():
    await broker.shutdown()


async def put(sent, text):
    return await small.kiq(sent, text)


async def result(handle):
    await handle.wait_result(check_interval=float(os.environ.get("CHECK", "0.2")), timeout=30)


async def put_crash():
    await crash.kiq()
