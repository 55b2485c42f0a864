"""From the `broker` setting to an engine: the one place that knows the drivers by name."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from headgate.base.errors import ConfigError
from headgate.base.ports import Engine
from headgate.config.folder import DataFolder
from headgate.config.settings import Settings
from headgate.drivers.bridge import Bridge
from headgate.drivers.embedded.client import EmbeddedEngine


def open_engine(url: str, data: str | Path, settings: Settings | None = None, *, worker: str | None = None) -> Engine:
    """The engine of a `broker` setting, not yet open.

    Args:
        url: "embedded", "memory" (the same process, with nothing on disk), "unix:PATH" of a broker's socket.
        data: the data folder.
        settings: for engines that need more than that.
        worker: the name of the job worker whose claims end with this connection, if the caller is one.

    Raises:
        ConfigError: no engine goes by that name.
    """
    if url in ("embedded", "memory"):
        return EmbeddedEngine(DataFolder(data).broker, worker=worker)
    if url.startswith("unix:"):
        return EmbeddedEngine(Path(url.removeprefix("unix:")), worker=worker)
    raise ConfigError(f'no engine goes by broker = "{url}"; there are "embedded", "memory" and "unix:PATH"')


def open_bridge(url: str, data: str | Path, settings: Settings | None = None, *, worker: str | None = None) -> Bridge:
    """The same engine for threads, not yet open."""
    return Bridge(open_engine(url, data, settings, worker=worker), new_loop=fastest_loop())


def fastest_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes event loops: uvloop where it is installed."""
    with contextlib.suppress(ImportError):
        import uvloop

        return uvloop.new_event_loop
    return asyncio.new_event_loop
