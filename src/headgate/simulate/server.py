"""The server's side of the timeline, when the target is a Headgate on this machine, and the faults that hit it.

Everything goes through the supervisor's control socket in the data folder: one JSON frame asks, one
answers. The status is asked for once a second; that costs the supervisor well under a millisecond.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from headgate.base.errors import HeadgateError, Unavailable
from headgate.base.frames import FrameReader, frame
from headgate.config.folder import DataFolder
from headgate.simulate.faults import Fault
from headgate.simulate.report import Mark, Sample

SAMPLE_SECONDS: Final = 1.0
STATUS_SECONDS: Final = 5.0
RELOAD_SECONDS: Final = 120.0
_ANSWER_LIMIT: Final = 64 * 1024 * 1024
KINDS: Final[Sequence[tuple[re.Pattern[str], str, float]]] = (
    (re.compile(r"(^|\.)(loop_)?lag(_\w+)?$"), "loop lag (ms)", 1000.0),
    (re.compile(r"(^|\.)lanes\..*(waiting|queued|queue)$"), "lane queues", 1.0),
    (re.compile(r"(^|\.)(turns_)?waiting$"), "waiting", 1.0),
    (re.compile(r"(^|\.)busy$"), "handlers running", 1.0),
    (re.compile(r"(^|\.)(connections|sockets)$"), "connections", 1.0),
    (re.compile(r"^jobs\..*(scheduled|queued|running|failed)$"), "jobs", 1.0),
    (re.compile(r"(^|\.)(incidents|blocked|blocking)(\.\w+)?$"), "blocking incidents", 1.0),
)
"""Which numbers of a process's own stats are plotted, under which title, times what."""


async def ask(control: Path, do: str, seconds: float) -> Mapping[str, Any]:
    """Ask the supervisor behind a control socket for `status` or `reload`.

    Raises:
        Unavailable: nobody answers in time.
        HeadgateError: it says no; the message says why.
    """
    try:
        async with asyncio.timeout(seconds):
            payload = await _exchange(control, msgspec.json.encode({"do": do}))
    except TimeoutError:
        raise Unavailable(f"the Headgate behind {control} did not answer {do!r} within {seconds:g} s") from None
    except OSError as error:
        raise Unavailable(f"no Headgate answers behind {control}: {error.strerror or error}") from None
    reply = msgspec.json.decode(payload)
    if not reply.get("ok", True):
        raise HeadgateError(f"the Headgate refused to {do}: {reply.get('failure', '')}")
    data: Mapping[str, Any] = reply.get("data", {})
    return data


async def _exchange(control: Path, question: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(control))
    try:
        writer.write(frame(question))
        frames = FrameReader(_ANSWER_LIMIT)
        while data := await reader.read(1 << 16):
            for payload in frames.feed(data):
                return payload
        raise ConnectionResetError("it hung up without an answer")
    finally:
        writer.close()


class LocalHeadgate:
    """Goes along with a run: samples the status, and kills or reloads when the faults say so.

    Args:
        data: the data folder of the running Headgate.
        faults: those that hit the server.
    """

    def __init__(self, data: str | Path, faults: Sequence[Fault] = ()) -> None:
        # The supervisor's socket path is absolute; a relative one here means relative to this process.
        self._control = DataFolder(data).control.absolute()
        self._faults = faults
        self._tasks: list[asyncio.Task[None]] = []
        self._cpu: dict[str, tuple[float, float]] = {}
        self._origin = 0.0
        self.marks: list[Mark] = []
        self.samples: list[Sample] = []
        self.problems: list[str] = []

    async def serves(self, port: int | None) -> bool:
        """Whether a Headgate answers there and listens on this port (None: whatever it listens on)."""
        try:
            status = await ask(self._control, "status", STATUS_SECONDS)
        except HeadgateError:
            return False
        return port is None or any(
            str(address).rstrip("/").endswith(f":{port}") for address in status.get("addresses", ())
        )

    def start(self, origin: float) -> None:
        """Begin; `origin` is the run's start on the monotonic clock."""
        self._origin = origin
        self._tasks = [asyncio.create_task(self._sample())]
        self._tasks += [asyncio.create_task(self._cause(fault)) for fault in self._faults]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _now(self) -> float:
        return time.monotonic() - self._origin

    async def _sample(self) -> None:
        silent = False
        while True:
            at = self._now()
            try:
                status = await ask(self._control, "status", STATUS_SECONDS)
                self.samples.append(Sample(at=round(at, 2), values=self._values(status)))
                silent = False
            except HeadgateError as error:
                if not silent:
                    self.marks.append(Mark(at, f"no status: {error}"))
                silent = True
            await asyncio.sleep(max(SAMPLE_SECONDS - (self._now() - at), 0.1))

    def _values(self, status: Mapping[str, Any]) -> dict[str, float]:
        """The numbers to plot, summed over the processes of one kind; of lags the worst counts."""
        values: dict[str, float] = {}
        for process in status.get("processes", ()):
            kind = " ".join(str(process[key]) for key in ("role", "lane") if process.get(key))
            for name, number in self._numbers(kind, process):
                worst = name.startswith("loop lag")
                values[name] = max(values.get(name, 0.0), number) if worst else values.get(name, 0.0) + number
        return {name: round(number, 4) for name, number in values.items()}

    def _numbers(self, kind: str, process: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
        if isinstance(process.get("rss"), int | float):
            yield f"memory (MB): {kind}", process["rss"] / 1e6
        if isinstance(process.get("cpu"), int | float):
            yield f"CPU (cores): {kind}", self._cpu_since(str(process.get("name")), float(process["cpu"]))
        for path, number in _leaves(process.get("stats") or {}):
            for pattern, title, factor in KINDS:
                if pattern.search(path):
                    item = path.removeprefix("jobs.") if title == "jobs" else f"{kind} {path}".strip()
                    yield f"{title}: {item}", number * factor
                    break

    def _cpu_since(self, name: str, used: float) -> float:
        """Cores that a process has used since it was last seen; the first look tells nothing yet."""
        now = time.monotonic()
        when, before = self._cpu.get(name, (now, used))
        self._cpu[name] = (now, used)
        return max(used - before, 0.0) / (now - when) if now > when else 0.0

    async def _cause(self, fault: Fault) -> None:
        await asyncio.sleep(max(fault.at - self._now(), 0))
        try:
            if fault.kind == "kill":
                await self._kill(fault)
            else:
                await self._reload()
        except HeadgateError as error:
            self.problems.append(f"the fault {fault.label!r} could not be caused: {error}")

    async def _kill(self, fault: Fault) -> None:
        status = await ask(self._control, "status", STATUS_SECONDS)
        running = [p for p in status.get("processes", ()) if p.get("pid")]
        chosen = [p for p in running if fault.role in (p.get("role"), p.get("lane"), p.get("name"))]
        if not chosen:
            roles = ", ".join(sorted({str(p.get("role")) for p in running}))
            raise HeadgateError(f"no {fault.role} process runs there (there are: {roles})")
        os.kill(int(chosen[0]["pid"]), signal.SIGKILL)
        self.marks.append(Mark(self._now(), f"kill -9 of {chosen[0].get('name')} (pid {chosen[0]['pid']})"))

    async def _reload(self) -> None:
        self.marks.append(Mark(self._now(), "reload begins"))
        try:
            await ask(self._control, "reload", RELOAD_SECONDS)
        except asyncio.CancelledError:
            self.marks.append(Mark(self._now(), "the run ends before the reload"))
            raise
        self.marks.append(Mark(self._now(), "the new generation serves"))


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """(dotted path, number) of every number in a tree; True and False are no numbers here."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, float(value)
