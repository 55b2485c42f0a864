"""A run that is interrupted before anybody clicks."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest

from headgate.simulate import conduct
from headgate.simulate.conduct import Conductor
from headgate.simulate.errors import ExitCode
from headgate.simulate.fleet import Crew
from headgate.simulate.plan import Options, make_plan
from headgate.simulate.report import Report
from tests.unit.simulate.users import Script

pytestmark = pytest.mark.anyio


class Witness(Script):
    """Says which of its hooks have run."""

    ran: ClassVar[list[str]] = []

    def setup(self) -> None:
        _pass("setup")

    def teardown(self) -> None:
        _pass("teardown")


class StubFleet:
    """Ends only when it is stopped after its start."""

    def __init__(self, *_: Any) -> None:
        self.crew = Crew()
        self._started = False
        self._ended = asyncio.Event()

    async def start(self) -> None:
        _pass("start")
        self._started = True

    def stop(self) -> None:
        if self._started:
            self._ended.set()

    async def connected(self) -> None: ...

    async def finished(self) -> None:
        await self._ended.wait()

    async def close(self) -> None:
        _pass("close")


class Interrupted(Conductor):
    """Hears the signal at the given step."""

    now: ClassVar[Interrupted]

    def __init__(self, at: str) -> None:
        super().__init__(make_plan(Options("ws://127.0.0.1:1/", scenario=f"{__name__}:Witness")))
        self.at = at
        Witness.ran, Interrupted.now = [], self

    async def _reach(self) -> None:
        _pass("reach")


def _pass(step: str) -> None:
    Witness.ran.append(step)
    if Interrupted.now.at == step:
        Interrupted.now.interrupt()


async def run(at: str) -> Report:
    async with asyncio.timeout(30):
        return await Interrupted(at).run()


@pytest.mark.parametrize(
    ("at", "steps"),
    [
        ("reach", ["reach"]),
        ("setup", ["reach", "setup", "close", "teardown"]),
        ("start", ["reach", "setup", "start", "close", "teardown"]),
    ],
)
async def test_an_interrupt_before_the_clicking_ends_the_run(
    at: str, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conduct, "Fleet", StubFleet)
    report = await run(at)
    assert (report.exit_code, report.interrupted, Witness.ran) == (ExitCode.INTERRUPTED, True, steps)
    assert "interrupted after 0 s" in (report.problem or "")
