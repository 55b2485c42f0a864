"""One load-generator process: `python -m headgate.simulate.generator`, orders on stdin, reports on stdout."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
import time
from typing import Any, Final, cast

import msgspec

from headgate.base.frames import FrameReader, frame
from headgate.simulate import orders
from headgate.simulate.errors import BadInput, ScenarioError, SimulateError, TargetError
from headgate.simulate.faults import UserFaults
from headgate.simulate.floor import Floor
from headgate.simulate.load import make_scenario
from headgate.simulate.metronome import Metronome
from headgate.simulate.player import Player
from headgate.simulate.schedule import presence
from headgate.simulate.stages import Curve, Load
from headgate.simulate.wire.choose import wire_maker

PULSE_SECONDS: Final = 0.5
DRAIN_POLL: Final = 0.05
GOODBYE_POLLS: Final = 40
PARENT_POLL: Final = 2.0
ORPHAN_SECONDS: Final = 5.0
_encode = msgspec.msgpack.Encoder().encode
_decode_order = msgspec.msgpack.Decoder(orders.Order).decode


class Channel:
    """The pipes to the parent."""

    def __init__(self) -> None:
        self._frames = FrameReader(orders.FRAME_LIMIT)
        self._queue: asyncio.Queue[orders.Order | None] = asyncio.Queue()
        self._out = os.dup(1)
        # A scenario that prints must not write into the reports.
        os.dup2(2, 1)

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        self._task = loop.create_task(self._read(reader))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(65536):
            for payload in self._frames.feed(data):
                self._queue.put_nowait(_decode_order(payload))
        self._queue.put_nowait(None)

    async def next(self) -> orders.Order | None:
        """The next order; None when the parent is gone."""
        return await self._queue.get()

    def tell(self, report: orders.Report) -> None:
        data = memoryview(frame(_encode(report)))
        while data:
            data = data[os.write(self._out, data) :]


class Generator:
    """Runs this process's users from the first connection to the last answer."""

    def __init__(self, spec: orders.Spec, channel: Channel) -> None:
        self._spec = spec
        self._channel = channel
        self._load = Load(Curve(spec.users), Curve(spec.rate))
        scenario = make_scenario(spec.scenario, spec.params, spec.shared, spec.overrides)
        self.floor = Floor(
            scenario,
            self._load,
            seed=spec.seed,
            heavy=spec.heavy,
            warmup=spec.warmup,
            wires=wire_maker(spec, scenario),
        )
        numbers = range(spec.index, self._load.most_users, spec.processes)
        self.players = [Player(number, self.floor) for number in numbers]
        for player in self.players:
            scenario.start(player.user)
        self.metronome = Metronome(self.floor, self.players)
        self._cpu: list[tuple[float, float]] = []
        self._phase = "connecting"
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """End early: the parent said so."""
        self._stopped.set()

    async def stopped(self) -> None:
        """Wait for the parent's stop, or for the scenario to fail."""
        await self._pause(None)

    async def connect(self) -> orders.Ready:
        """Connect those who are there from the start, `connect_rate` a second."""
        gap = self._spec.processes / self._spec.connect_rate
        tasks = []
        due = time.monotonic()
        for player in self.players:
            if not any(start <= 0 for start, _ in presence(self._load, player.number)):
                continue
            tasks.append(player.join())
            due += gap
            if (wait := due - time.monotonic()) > 0.01:
                await asyncio.sleep(wait)
            if self._cut_short:
                break
        await self._settle(tasks)
        self.floor.opening = False
        connected = sum(player.connected for player in self.players)
        return orders.Ready(connected, len(tasks) - connected, self.floor.first_refusal)

    async def _settle(self, tasks: list[asyncio.Task[None]]) -> None:
        """Wait until each first attempt has succeeded or failed."""
        deadline = time.monotonic() + self._spec.timeout + 1
        count = self.floor.measure.counts
        while count["opened"] + count["connect_failed"] < len(tasks):
            if time.monotonic() > deadline or self._cut_short:
                return
            await asyncio.sleep(0.01)

    async def run(self, origin: float) -> None:
        """Click until the load ends, then wait for what is under way."""
        self.floor.origin = origin
        faults = UserFaults(self._spec, self.players, self.floor, self._note)
        await self._pause(max(origin - time.monotonic(), 0))
        # A full collection over 10,000 users' objects takes tens of milliseconds, which would be measured.
        gc.collect()
        gc.freeze()
        self._phase = "running"
        for player in self.players:
            player.retry()
        self.metronome.start()
        faults.start()
        await self._pause(self._load.seconds - self.floor.now())
        self._phase = "draining"
        deadline = time.monotonic() + self._spec.drain
        while any(player.outstanding for player in self.players):
            if time.monotonic() > deadline or self._cut_short:
                break
            await self._pause(DRAIN_POLL)
        await faults.stop()

    async def _pause(self, seconds: float | None) -> None:
        """Wait (None: for ever), unless the run is stopped or the scenario fails meanwhile."""
        stop: asyncio.Future[Any] = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait(
                [stop, cast("asyncio.Future[Any]", self.floor.failure)],
                timeout=None if seconds is None else max(seconds, 0),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            stop.cancel()

    async def finish(self) -> orders.Done:
        """Settle the books and close the connections."""
        seconds = min(max(self.floor.now(), 0.0), self._load.seconds)
        self.metronome.stop()
        connected = sum(player.connected for player in self.players)
        self.floor.over = True
        for player in self.players:
            player.settle(self._spec.drain if self._cut_short else 0.0)
            player.go()
        for _ in range(GOODBYE_POLLS):
            if not any(player.connected for player in self.players):
                break
            await asyncio.sleep(DRAIN_POLL)
        await self.floor.close()
        return orders.Done(
            self.floor.measure.dump(),
            self.metronome.lag.encode(),
            self.metronome.loop_lag.encode(),
            self._cpu,
            connected,
            seconds,
        )

    @property
    def _cut_short(self) -> bool:
        return self._stopped.is_set() or self.floor.failure.done()

    async def pulse(self) -> None:
        """Report how it goes until cancelled."""
        last, used = time.monotonic(), time.process_time()
        while True:
            await asyncio.sleep(PULSE_SECONDS)
            now, now_used = time.monotonic(), time.process_time()
            cpu, last, used = (now_used - used) / (now - last), now, now_used
            if self._phase == "running":
                self._cpu.append((round(self.floor.now(), 2), round(cpu, 3)))
            self._channel.tell(self._pulse(cpu))

    def _pulse(self, cpu: float) -> orders.Pulse:
        recent, self.floor.recent = self.floor.recent, {}
        return orders.Pulse(
            self._spec.index,
            self.floor.now(),
            sum(player.connected for player in self.players),
            sum(player.outstanding for player in self.players),
            dict(self.floor.measure.counts),
            {name: histogram.encode() for name, histogram in recent.items()},
            cpu,
            max(self.metronome.lag.max, self.metronome.loop_lag.max),
            self._phase,
        )

    def _note(self, text: str) -> None:
        self._channel.tell(orders.Note(self.floor.now(), text))


async def _serve(generator: Generator, channel: Channel) -> None:
    """Take the parent's orders; a closed pipe means that it is gone, and we go too."""
    origin: asyncio.Future[float] = asyncio.get_running_loop().create_future()
    listening = asyncio.ensure_future(_listen(generator, channel, origin))
    pulse = asyncio.ensure_future(generator.pulse())
    try:
        channel.tell(await generator.connect())
        stopped: asyncio.Future[Any] = asyncio.ensure_future(generator.stopped())
        await asyncio.wait([cast("asyncio.Future[Any]", origin), stopped], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if origin.done():
            await generator.run(origin.result())
        pulse.cancel()
        done = await generator.finish()
        failure = generator.floor.failure
        if failure.done() and not failure.cancelled() and (error := failure.exception()):
            channel.tell(orders.Failed("scenario", str(error)))
        channel.tell(done)
    finally:
        pulse.cancel()
        listening.cancel()


async def _listen(generator: Generator, channel: Channel, origin: asyncio.Future[float]) -> None:
    while True:
        order = await channel.next()
        if isinstance(order, orders.Begin):
            origin.set_result(order.origin)
        elif order is None or isinstance(order, orders.Stop):
            generator.stop()
            return


async def main() -> None:
    """Run what the parent's first order says."""
    channel = Channel()
    await channel.open()
    spec = await channel.next()
    if not isinstance(spec, orders.Spec):
        return
    try:
        generator = Generator(spec, channel)
    except SimulateError as error:
        channel.tell(orders.Failed(_kind(error), str(error)))
        return
    except Exception as error:
        channel.tell(orders.Failed("scenario", f"the scenario's start() raised {error!r}"))
        return
    await _serve(generator, channel)


def _kind(error: SimulateError) -> str:
    kinds = {ScenarioError: "scenario", TargetError: "target", BadInput: "input"}
    return kinds.get(type(error), "input")


def _outlive_nobody(parent: int) -> None:
    """End this process some seconds after its parent, also when a scenario's hook blocks the event loop."""
    while os.getppid() == parent:
        time.sleep(PARENT_POLL)
    time.sleep(ORPHAN_SECONDS)
    os._exit(1)


def run() -> None:
    """The process's entry point. Ctrl-C goes to the parent, which asks for what there is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_outlive_nobody, args=(os.getppid(),), daemon=True, name="parent-watch").start()
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())


if __name__ == "__main__":
    run()
