"""Turns a peer's detector on, in the process and before the loop runs. Runs in the peers' environment."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from typing import Any

LIMIT = 0.1


def before(name: str) -> None:
    """What must happen before the loop is made."""
    if name == "gevent_monitor":
        os.environ["GEVENT_MONITOR_THREAD_ENABLE"] = "1"
        os.environ["GEVENT_MAX_BLOCKING_TIME"] = str(LIMIT)
    elif name == "blockbuster":
        import blockbuster

        blockbuster.BlockBuster().activate()


def inside(name: str) -> Any:
    """What must happen in the loop or on its hub; what it returns must be kept."""
    if name == "asyncio_debug":
        import asyncio

        logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        loop.slow_callback_duration = LIMIT
        return loop
    if name == "aiodebug":
        from aiodebug import hang_inspection, log_slow_callbacks

        logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
        log_slow_callbacks.enable(LIMIT)
        return hang_inspection.start(os.environ.get("STACKS") or tempfile.mkdtemp(), interval=LIMIT)
    if name == "eventlet_detector":
        import eventlet.debug

        eventlet.debug.hub_blocking_detection(True, LIMIT)
    return None


PEERS = {
    "asyncio_debug": ("asyncio", "asyncio debug mode"),
    "aiodebug": ("asyncio", "aiodebug"),
    "blockbuster": ("asyncio", "blockbuster"),
    "eventlet_detector": ("eventlet", "eventlet hub_blocking_detection"),
    "gevent_monitor": ("gevent", "gevent monitor thread"),
}
"""Detector → the kind of loop that it is for, and what it is called."""
