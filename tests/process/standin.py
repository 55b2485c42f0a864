"""A stand-in for every role: does what its command line says, so that the supervisor is tested alone.

Traits, as `--NAME` or `--NAME=VALUE`, for all roles or, as `ROLE.NAME`, for one.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from headgate.base.ports import StopSignal
from headgate.supervisor.child import Child, serve


class StandIn:
    """Writes down what happens to it, one line each, in the folder `diary`."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.traits = Path("traits").read_text().split() if Path("traits").exists() else []
        child.on_message("worker_died", lambda data: self.note(f"worker_died {data['name']}"))

    def has(self, trait: str) -> bool:
        """Whether a trait is set for all, for the role, or for the place."""
        wanted = {trait, f"{self.child.role}.{trait}", f"{self.place}.{trait}"}
        return not wanted.isdisjoint(self.traits)

    @property
    def place(self) -> str:
        return self.child.name.split(".", maxsplit=1)[0]

    def note(self, line: str) -> None:
        with open("diary", "a") as diary:
            diary.write(f"{self.place} {self.child.generation} {os.getpid()} {line}\n")

    async def _boot(self) -> None:
        """What goes wrong before a process serves."""
        if self.has("raises"):
            raise RuntimeError("the database is away")
        if self.has("imports"):
            importlib.import_module("no_such_module")
        if self.has("exits"):
            os._exit(7)
        if self.has("boots-slowly"):
            await asyncio.sleep(3600)

    async def run(self, ready: Callable[[], None], stop: StopSignal) -> None:
        self.note(f"start replaces={self.child.replaces}")
        if self.has("counts"):
            self.note(f"processes={os.environ.get('HEADGATE_PROCESSES')}")
        if self.has("recycles") and not self.child.replaces:
            ready()
            self.child.flush(5.0)
            return
        await self._boot()
        self.note("ready")  # before it is told: what the supervisor does then is written after it
        ready()
        self.child.report({"answer": 42})
        if self.has("crashes"):
            self.child.flush(5.0)
            os._exit(9)
        if self.has("hangs"):
            threading.Event().wait()  # the loop stands still and uses no CPU
        if self.has("spins"):
            while True:
                time.perf_counter()
        if self.role_is("gateway"):
            await self.answer(stop)
        left = await stop.wait()
        self.note(f"stop {left:.0f}")
        if self.has("dawdles"):
            await asyncio.sleep(3600)
        self.note("end")

    def role_is(self, role: str) -> bool:
        return self.child.role == role

    async def answer(self, stop: StopSignal) -> None:
        """A gateway answers each connection with its process id."""

        async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(f"{os.getpid()}\n".encode())
            writer.close()

        for listener in self.child.listeners:
            await asyncio.start_server(greet, sock=listener)


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    serve(StandIn, uvloop=False)
