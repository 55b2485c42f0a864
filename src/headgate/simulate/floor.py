"""What all players of one generator process share: the clock, the measure, the scenario, the faults' reach."""

from __future__ import annotations

import asyncio
import random
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

from headgate.simulate.errors import ScenarioError, ScenarioStopped, TargetError
from headgate.simulate.histogram import Histogram
from headgate.simulate.measure import Measure
from headgate.simulate.scenario import Scenario, User
from headgate.simulate.schedule import intentions
from headgate.simulate.stages import Load
from headgate.simulate.wire.port import UserSink, Wire

PATIENCE: Final = 1.0
LONGEST_PATIENCE: Final = 10.0
USUAL: Final = 99.9
"""The percentile up to which a slow answer is nothing unusual."""

WireMaker = Callable[[UserSink], Wire]

SHORTEST_THINK: Final = 0.0001
"""A scenario that thinks for no time at all would click for ever in one moment."""


class Floor:
    """One process's share of the run.

    Args:
        scenario: what the users do.
        load: how many of them there are, and how fast they click.
        seed: of every schedule.
        heavy: the share of heavy clicks.
        warmup: seconds whose clicks are not timed.
        wires: makes a user's wire.
    """

    def __init__(
        self,
        scenario: Scenario,
        load: Load,
        *,
        seed: int,
        heavy: float,
        warmup: float,
        wires: WireMaker,
    ) -> None:
        self.scenario = scenario
        self.load = load
        self.seed = seed
        self.heavy = heavy
        self.measure = Measure(warmup)
        self.origin = time.monotonic()
        self.opening = True
        self.over = False
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.first_refusal: str | None = None
        self.recent: dict[str, Histogram] = {}
        self._wires = wires
        self._tasks: set[asyncio.Task[None]] = set()
        self._patience: dict[str, tuple[int, float]] = {}
        self._own_pace = type(scenario).think is not Scenario.think

    def now(self) -> float:
        """Seconds since the start of the run; negative before it."""
        return time.monotonic() - self.origin

    def make_wire(self, sink: UserSink) -> Wire:
        return self._wires(sink)

    def count(self, name: str, by: int = 1) -> None:
        self.measure.count(name, self.now(), by)

    def time(self, name: str, intended: float, value: float) -> None:
        """Record a latency, for the report and for the live view."""
        self.measure.time(name, intended, value)
        recent = self.recent.get(name)
        if recent is None:
            recent = self.recent[name] = Histogram(2)
        recent.record(value)

    def patience(self, name: str) -> float:
        """How long answers to the clicks of this name may be missing, by those that came, in seconds."""
        if name + ".service" not in self.measure.series:
            return PATIENCE
        seen = self.measure.series[name + ".service"].total
        # A storm asks for each of thousands of users, and a percentile takes milliseconds.
        count, found = self._patience.get(name, (-1, 0.0))
        if count != seen.count:
            found = min(PATIENCE + 2 * seen.percentile(USUAL), LONGEST_PATIENCE)
            self._patience[name] = (seen.count, found)
        return found

    def moments_of(self, user: User, rng: random.Random, start: float, end: float) -> Iterator[float]:
        """When the user means to click between `start` and `end`."""
        if self._own_pace:
            return self._thinking(user, rng, start, end)
        return intentions(rng, self.load.rate, start, end, self.scenario.pace)

    def _thinking(self, user: User, rng: random.Random, start: float, end: float) -> Iterator[float]:
        moment = start
        while True:
            gap = self._thought(user)
            if gap is None:
                gap = rng.expovariate(max(self.load.rate.at(moment), 1e-9))
            moment += max(gap, SHORTEST_THINK)
            if moment >= end:
                return
            yield moment

    def _thought(self, user: User) -> float | None:
        """What `think` says, as a number; what it raises ends the run."""
        try:
            gap = self.scenario.think(user)
            return None if gap is None else float(gap)
        except Exception as error:
            self.scenario_failed(error)
            raise ScenarioStopped from error

    def connect_failed(self, error: TargetError) -> None:
        self.count("connect_failed")
        if self.first_refusal is None:
            self.first_refusal = str(error)

    def disconnected(self, code: int, reason: str) -> None:
        self.count("disconnects")
        self.measure.closes[f"{code} {reason}".strip()[:80]] += 1

    def scenario_failed(self, error: Exception) -> None:
        """The scenario's code raised: remember the first time, which ends the run."""
        if self.failure.done():
            return
        if isinstance(error, ScenarioError):
            self.failure.set_exception(error)
            return
        lines = traceback.format_exception(error)
        text = f"the scenario {self.scenario.name!r} raised {error!r}\n\n" + "".join(lines[-12:])
        self.failure.set_exception(ScenarioError(text.rstrip()))

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a player's task, keeping it alive and its crash from going unseen."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, Exception) and not isinstance(error, ScenarioStopped):
            self.scenario_failed(error)

    async def close(self) -> None:
        """Cancel what still runs."""
        self.over = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if not self.failure.done():
            self.failure.cancel()
