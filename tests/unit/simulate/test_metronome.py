"""Users whose scenario sets the pace."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headgate.simulate.errors import ScenarioError
from headgate.simulate.metronome import Metronome
from headgate.simulate.scenario import User
from tests.unit.simulate.users import OneUser, Script

pytestmark = pytest.mark.anyio


class Thinker(Script):
    """Thinks what the test says, one after the other; an exception is raised."""

    def __init__(self, *thoughts: Any) -> None:
        super().__init__()
        self.thoughts = list(thoughts)

    def think(self, user: User) -> Any:
        thought = self.thoughts.pop(0)
        if isinstance(thought, Exception):
            raise thought
        return thought


@pytest.mark.parametrize("thoughts", [[KeyError("first")], ["soon"], [0.001, KeyError("second")]])
async def test_a_think_that_raises_ends_the_run_with_its_traceback(thoughts: list[Any]) -> None:
    user = OneUser(Thinker(*thoughts))
    await user.connect()
    metronome = Metronome(user.floor, [user.player])
    metronome.start()
    with pytest.raises(ScenarioError, match="Traceback"):
        async with asyncio.timeout(10):
            await user.floor.failure
    assert metronome.idle
    assert len(user.wire.sent) == len(thoughts) - 1
    metronome.stop()
    await user.floor.close()
