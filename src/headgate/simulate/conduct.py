"""Conducts a run: reach the target, set up, connect, click, wait, tear down, report."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from headgate.simulate.errors import ScenarioError, SimulateError, TargetError
from headgate.simulate.fleet import Crew, Fleet
from headgate.simulate.judge import assemble, judge
from headgate.simulate.load import make_scenario
from headgate.simulate.orders import Pulse
from headgate.simulate.plan import Plan
from headgate.simulate.report import Mark, Report, Sample
from headgate.simulate.scenario import Scenario
from headgate.simulate.wire.choose import host_and_port
from headgate.simulate.wire.source import SourceAddresses


class Companion(Protocol):
    """Something that goes along with the run in the parent: samples the server, causes its faults."""

    def start(self, origin: float) -> None: ...

    async def stop(self) -> None: ...

    @property
    def marks(self) -> Sequence[Mark]: ...

    @property
    def samples(self) -> Sequence[Sample]: ...

    @property
    def problems(self) -> Sequence[str]: ...


class Conductor:
    """One run.

    Args:
        plan: what to do.
        companion: goes along, when the target is a local Headgate.
        on_pulse: told how it goes.
    """

    def __init__(
        self,
        plan: Plan,
        companion: Companion | None = None,
        on_pulse: Callable[[Pulse], None] | None = None,
    ) -> None:
        self._plan = plan
        self._companion = companion
        self._on_pulse = on_pulse
        self._interrupted = asyncio.Event()
        self._fleet: Fleet | None = None
        self._began = time.time()

    def interrupt(self) -> None:
        """End early, with a partial report."""
        self._interrupted.set()
        if self._fleet is not None:
            self._fleet.stop()

    @property
    def stderr(self) -> str:
        """What the generator processes, and a scenario in them, wrote to stderr."""
        return self._fleet.crew.stderr if self._fleet is not None else ""

    async def run(self) -> Report:
        """Do it all; whatever happens after the set-up, there is a report."""
        scenario = make_scenario(
            self._plan.options.scenario, dict(self._plan.options.params), None, self._plan.overrides
        )
        try:
            await self._reach()
            if self._interrupted.is_set():
                return self._report(Crew(), None)
            shared = await asyncio.to_thread(_guarded, scenario.setup, "setup")
        except SimulateError as error:
            return self._report(Crew(), error)
        problem: SimulateError | None = None
        self._fleet = Fleet(self._plan, shared, self._on_pulse)
        try:
            if not self._interrupted.is_set():
                await self._play(self._fleet)
        except SimulateError as error:
            problem = error
        finally:
            await self._fleet.close()
            problem = await self._tear_down(scenario, problem)
        return self._report(self._fleet.crew, problem)

    async def _reach(self) -> None:
        """Fail at once, with the reason, when nothing is there."""
        host, port = host_and_port(self._plan.options.target)
        sock = await SourceAddresses().connect(host, port, self._plan.options.timeout)
        sock.close()

    async def _play(self, fleet: Fleet) -> None:
        await fleet.start()
        if self._interrupted.is_set():
            fleet.stop()  # the last processes may have started after the signal
        await fleet.connected()
        self._check_ready(fleet.crew)
        if not self._interrupted.is_set():
            self._began = fleet.begin()
            if self._companion is not None:
                self._companion.start(fleet.origin)
        await fleet.finished()
        if fleet.crew.errors:
            raise fleet.crew.errors[0]

    def _check_ready(self, crew: Crew) -> None:
        if crew.errors:
            raise crew.errors[0]
        failed = sum(ready.failed for ready in crew.ready)
        refusals = [ready.refusal for ready in crew.ready if ready.refusal]
        nobody = not any(ready.connected for ready in crew.ready)
        if failed and nobody and refusals and not self._interrupted.is_set():
            raise TargetError(f"none of the {failed} users could connect: {refusals[0]}")

    async def _tear_down(self, scenario: Scenario, problem: SimulateError | None) -> SimulateError | None:
        if self._companion is not None:
            await self._companion.stop()
        try:
            await asyncio.to_thread(_guarded, scenario.teardown, "teardown")
        except ScenarioError as error:
            return problem or error
        return problem

    def _report(self, crew: Crew, problem: SimulateError | None) -> Report:
        marks = list(self._companion.marks) if self._companion is not None else []
        samples = list(self._companion.samples) if self._companion is not None else []
        report = assemble(self._plan, crew, self._began, marks, samples)
        if self._interrupted.is_set():
            report.interrupted = True
            report.problem = f"interrupted after {report.seconds:.0f} s; this is a partial report"
        troubles = list(self._companion.problems) if self._companion is not None else []
        return judge(report, self._plan, [*crew.died, *troubles], problem)


def _guarded(hook: Callable[[], object], name: str) -> object:
    try:
        return hook()
    except Exception as error:
        raise ScenarioError(f"the scenario's {name}() raised {error!r}") from error
