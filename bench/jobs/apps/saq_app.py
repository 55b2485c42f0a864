"""The jobs on SAQ with Redis. SWEEP=1: three tries, and stuck jobs looked for every second."""

import asyncio
import os

import lines
from saq import Queue

ASYNC = True
queue = Queue.from_url(os.environ["REDIS_URL"])
tuned = bool(os.environ.get("SWEEP"))
tries = {"retries": 3} if tuned else {}


async def small(ctx, *, sent, text):
    lines.ran(sent)


async def crash(ctx):
    lines.begun()
    await asyncio.sleep(lines.CRASH_SECONDS)


settings = {"queue": queue, "functions": [small, crash], **({"timers": {"sweep": 1}} if tuned else {})}


async def start():
    await queue.connect()


async def stop():
    await queue.disconnect()


async def put(sent, text):
    return await queue.enqueue("small", sent=sent, text=text, **tries)


async def result(job):
    for _ in range(30):  # a job that ends between SAQ's look and its subscription is told by neither: look again
        try:
            await job.refresh(until_complete=1)
        except TimeoutError:
            continue
        return
    raise TimeoutError


async def put_crash():
    await queue.enqueue("crash", **tries)
