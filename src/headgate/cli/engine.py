"""A command's connection to the engine: where it is, and a session with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from headgate.base.errors import HeadgateError, Unavailable
from headgate.base.ports import Engine
from headgate.cli.console import place
from headgate.cli.options import WHERE, chdir_option, loaded, setting_options

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def where_options(command: F) -> F:
    """Give a command the flags that say which engine it is about: --data, --broker, --chdir."""
    return setting_options(WHERE)(chdir_option(command))


def with_engine(act: Callable[[Engine], Awaitable[T]], data: str | None, broker: str | None, chdir: str | None) -> T:
    """Connect to the engine, act, disconnect.

    Raises:
        ConfigError: no engine goes by that name. Unavailable: it does not answer.
    """
    from headgate.roles.choose import open_engine

    settings = loaded({"data": data, "broker": broker}, chdir).settings
    embedded = settings.broker in ("embedded", "memory")
    if embedded and not settings.folder.broker.exists():
        raise _nobody(settings.data)

    async def session() -> T:
        engine = open_engine(settings.broker, settings.data, settings)
        try:
            await engine.open()
        except Unavailable as exc:
            raise _nobody(settings.data) if embedded else exc from exc
        try:
            return await act(engine)
        finally:
            await engine.close()

    return asyncio.run(session())


def _nobody(data: str) -> HeadgateError:
    return Unavailable(
        f"Headgate does not run on the data folder {place(data)}, so its jobs cannot be asked for. "
        "Start it with `headgate run`, or name the folder of the one that you mean with --data."
    )
