"""Bulk calls from asyncio: the call runs in a thread, and async rows come from the loop of the caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from typing import Any, Final

from headgate.bulk.model import Result

_BATCH: Final = 1_000


async def run_async(call: Callable[..., Result], target: Any, rows: Any, **options: Any) -> Result:
    """Await a bulk call without blocking the loop.

    Args:
        call: `bulk.insert`, `bulk.upsert`, `bulk.update` or `bulk.delete`.
        target, rows, options: as for that call; an async iterable is read on the running loop.
    """
    if isinstance(rows, AsyncIterable):
        rows = _from_loop(aiter(rows), asyncio.get_running_loop())
    return await asyncio.to_thread(call, target, rows, **options)


def _from_loop(rows: AsyncIterator[Any], loop: asyncio.AbstractEventLoop) -> Iterator[Any]:
    """Rows of an async iterator for a thread: a batch for each trip to the loop."""

    async def some() -> list[Any]:
        taken = []
        async for row in rows:
            taken.append(row)
            if len(taken) == _BATCH:
                break
        return taken

    while taken := asyncio.run_coroutine_threadsafe(some(), loop).result():
        yield from taken
