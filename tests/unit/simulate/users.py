"""A user on a wire that does what the test says."""

from __future__ import annotations

import asyncio
from typing import Any

from headgate.simulate.floor import Floor
from headgate.simulate.player import Player
from headgate.simulate.scenario import Action, Reply, Scenario, User
from headgate.simulate.stages import Curve, Load


class Script(Scenario):
    """Messages are the replies themselves; `name` is what the next click is called."""

    click = "click"

    def act(self, user: User, click_id: int, heavy: bool) -> Action:
        return Action(click_id, name=self.click)

    def read(self, user: User, message: Reply) -> Reply:
        return message


class StubWire:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def open(self) -> None: ...

    def send(self, message: Any, click_id: int | None = None) -> None:
        self.sent.append(message)

    def close(self) -> None: ...

    def abort(self) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class OneUser:
    """One connected user, her floor and her wire."""

    def __init__(self, scenario: Script | None = None, warmup: float = 0.0) -> None:
        self.scenario = scenario or Script()
        self.wire = StubWire()
        load = Load(Curve([(0.0, 1.0), (60.0, 1.0)]), Curve([(0.0, 1.0), (60.0, 1.0)]))
        self.floor = Floor(self.scenario, load, seed=1, heavy=0.0, warmup=warmup, wires=lambda _: self.wire)
        self.player = Player(0, self.floor)

    async def connect(self) -> None:
        self.player.join()
        for _ in range(3):
            await asyncio.sleep(0)
        assert self.player.connected

    def click(self, name: str = "click", intended: float = 0.0) -> int:
        """Click; the click's id."""
        self.scenario.click = name
        self.player.click(intended)
        return int(self.wire.sent[-1])

    def hear(self, kind: Any, after: float = 0.01, **fields: Any) -> None:
        """A reply comes so many seconds after the start."""
        self.player.received(Reply(kind, **fields), self.floor.origin + after)

    def later(self, seconds: float) -> None:
        """So much time passes, as far as the floor knows."""
        self.floor.origin -= seconds

    @property
    def counts(self) -> dict[str, int]:
        """What was counted, but for what every run has."""
        usual = ("opened", "clicks", "sent", "messages", "answered")
        return {name: n for name, n in self.floor.measure.counts.items() if name not in usual}

    @property
    def timed(self) -> dict[str, int]:
        """How many times each series has."""
        return {name: series.total.count for name, series in self.floor.measure.series.items()}
