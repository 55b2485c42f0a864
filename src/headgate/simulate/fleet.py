"""The generator processes of a run, seen from the parent: start them, follow them, collect them."""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from headgate.base.frames import FrameReader, frame
from headgate.simulate import orders
from headgate.simulate.errors import BadInput, ScenarioError, SimulateError, TargetError
from headgate.simulate.plan import Plan

START_DELAY: Final = 0.25
FINISH_SECONDS: Final = 15.0
OVERDUE_SECONDS: Final = 60.0
STDERR_KEPT: Final = 64 * 1024
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(orders.Report).decode
_ERRORS: Final[dict[str, type[SimulateError]]] = {
    "scenario": ScenarioError,
    "target": TargetError,
    "input": BadInput,
}


@dataclass(slots=True)
class Crew:
    """What the fleet has heard so far."""

    ready: list[orders.Ready] = field(default_factory=list)
    done: list[orders.Done] = field(default_factory=list)
    pulses: dict[int, orders.Pulse] = field(default_factory=dict)
    notes: list[orders.Note] = field(default_factory=list)
    errors: list[SimulateError] = field(default_factory=list)
    died: list[str] = field(default_factory=list)
    stderr: str = ""


class Fleet:
    """The generator processes.

    Args:
        plan: the run.
        shared: what the scenario's setup returned.
        on_pulse: told of each process's pulse, for the live view.
    """

    def __init__(self, plan: Plan, shared: object, on_pulse: Callable[[orders.Pulse], None] | None = None) -> None:
        self._plan = plan
        self._shared = shared
        self._on_pulse = on_pulse
        self._processes: list[asyncio.subprocess.Process] = []
        self._readers: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self.crew = Crew()
        self.origin = 0.0
        self._deadline = math.inf

    async def start(self) -> None:
        """Start the processes and give them the run."""
        for index in range(self._plan.processes):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "headgate.simulate.generator",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
            self._processes.append(process)
            self._readers.append(asyncio.create_task(self._read(index, process)))
            self._tell(process, self._plan.spec(index, self._shared))

    async def connected(self) -> None:
        """Wait until every process has connected its users, or something is wrong."""
        await self._until(lambda: len(self.crew.ready) + len(self.crew.died) >= self._size)

    def begin(self) -> float:
        """Let the clicking begin; returns the wall-clock moment at which it does."""
        self.origin = time.monotonic() + START_DELAY
        self._deadline = self.origin + self._plan.load.seconds + self._plan.options.drain + OVERDUE_SECONDS
        for process in self._processes:
            self._tell(process, orders.Begin(self.origin))
        return time.time() + START_DELAY

    def stop(self) -> None:
        """Ask for an early end and a report of what there is."""
        self._deadline = min(self._deadline, time.monotonic() + FINISH_SECONDS)
        self._changed.set()  # who waits is to wait by the new deadline
        for process in self._processes:
            self._tell(process, orders.Stop())

    async def finished(self) -> None:
        """Wait for the last report; a scenario that failed in one process stops them all."""
        await self._until(self._all_done)
        if self.crew.errors and not self._all_done():
            self.stop()
            await self._until(self._all_done, heed_errors=False)
        missing = self._size - len(self.crew.done) - len(self.crew.died)
        if missing > 0 and not self.crew.errors:
            self.crew.died += ["a generator process hangs and was killed; does a hook of the scenario block?"] * missing

    async def close(self) -> None:
        """End the processes, by force if need be."""
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
        for process in self._processes:
            try:
                async with asyncio.timeout(3):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        await asyncio.gather(*self._readers, return_exceptions=True)

    @property
    def _size(self) -> int:
        return self._plan.processes

    def _all_done(self) -> bool:
        return len(self.crew.done) + len(self.crew.died) >= self._size

    async def _until(self, condition: Callable[[], bool], *, heed_errors: bool = True) -> None:
        while not condition() and not (heed_errors and self.crew.errors):
            self._changed.clear()
            left = self._deadline - time.monotonic()
            try:
                async with asyncio.timeout(left if math.isfinite(left) else None):
                    await self._changed.wait()
            except TimeoutError:
                return

    def _tell(self, process: asyncio.subprocess.Process, order: orders.Order) -> None:
        if process.stdin is not None and not process.stdin.is_closing():
            process.stdin.write(frame(_encode(order)))

    async def _read(self, index: int, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        complaints = asyncio.create_task(self._complaints(process))
        frames = FrameReader(orders.FRAME_LIMIT)
        finished = False
        while data := await process.stdout.read(1 << 20):
            for payload in frames.feed(data):
                finished = self._hear(_decode(payload)) or finished
        code = await process.wait()
        await complaints
        if not finished:
            self.crew.died.append(f"generator process {index} ended early (exit code {code})")
        self._changed.set()

    def _hear(self, report: orders.Report) -> bool:
        crew = self.crew
        if isinstance(report, orders.Pulse):
            crew.pulses[report.index] = report
            if self._on_pulse is not None:
                self._on_pulse(report)
        elif isinstance(report, orders.Ready):
            crew.ready.append(report)
        elif isinstance(report, orders.Note):
            crew.notes.append(report)
        elif isinstance(report, orders.Failed):
            crew.errors.append(_ERRORS[report.kind](report.text))
        else:
            crew.done.append(report)
        self._changed.set()
        return isinstance(report, orders.Done | orders.Failed)

    async def _complaints(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while data := await process.stderr.read(65536):
            self.crew.stderr = (self.crew.stderr + data.decode(errors="replace"))[-STDERR_KEPT:]
