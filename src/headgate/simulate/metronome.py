"""Clicks at their moments: one heap and one timer for all users of a process, and its own lag measured."""

from __future__ import annotations

import asyncio
import heapq
import time
from typing import Final

from headgate.simulate.errors import ScenarioStopped
from headgate.simulate.floor import Floor
from headgate.simulate.histogram import Histogram
from headgate.simulate.player import Player
from headgate.simulate.schedule import presence

EARLY: Final = 0.001
"""Event loops round timers to a millisecond: what is due within one goes out now rather than late."""
BEAT: Final = 0.05
MOST_AT_ONCE: Final = 100
"""Clicks sent before answers are read again: a burst must not make answers look late."""
JOIN, CLICK, LEAVE = 0, 1, 2


class Metronome:
    """Makes each player join, click and leave when its schedule says so.

    `lag` is how late this process acted on a click, `loop_lag` how late it ran a 50 ms beat: when
    they grow, the generator and not the server is being measured.
    """

    def __init__(self, floor: Floor, players: list[Player]) -> None:
        self._floor = floor
        self._players = {player.number: player for player in players}
        self._heap: list[tuple[float, int, int]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._beat: asyncio.TimerHandle | None = None
        self._expected = 0.0
        self.lag = Histogram(3)
        self.loop_lag = Histogram(3)
        try:
            for player in players:
                self._enter(player)
        except ScenarioStopped:
            self._heap.clear()  # the floor knows why; whoever runs it ends the run
        heapq.heapify(self._heap)

    def _enter(self, player: Player) -> None:
        for start, end in presence(self._floor.load, player.number):
            if start > 0:
                self._heap.append((start, JOIN, player.number))
            else:
                self._ready(player, start, end)
            if end < self._floor.load.seconds:
                self._heap.append((end, LEAVE, player.number))

    def _ready(self, player: Player, start: float, end: float) -> None:
        player.prepare(start, end)
        moment = next(player.moments, None)
        if moment is not None:
            self._heap.append((moment, CLICK, player.number))

    def start(self) -> None:
        """Begin; the floor's origin is the moment zero."""
        self._expected = time.monotonic() + BEAT
        self._pulse()
        self._arm()

    def stop(self) -> None:
        """No more clicks."""
        self._heap.clear()
        for timer in (self._timer, self._beat):
            if timer is not None:
                timer.cancel()

    @property
    def idle(self) -> bool:
        return not self._heap

    def _arm(self) -> None:
        if self._heap:
            wait = max(self._heap[0][0] - EARLY / 2 - self._floor.now(), 0.0)
            self._timer = asyncio.get_running_loop().call_later(wait, self._tick)

    def _tick(self) -> None:
        try:
            for _ in range(MOST_AT_ONCE):
                if not self._heap or self._heap[0][0] > self._floor.now() + EARLY:
                    break
                moment, what, number = heapq.heappop(self._heap)
                self._act(moment, what, self._players[number])
        except ScenarioStopped:
            self._heap.clear()
        self._arm()

    def _act(self, moment: float, what: int, player: Player) -> None:
        if what == CLICK:
            self.lag.record(self._floor.now() - moment)
            player.click(moment)
            following = next(player.moments, None)
            if following is not None:
                heapq.heappush(self._heap, (following, CLICK, player.number))
        elif what == JOIN:
            self._come(moment, player)
        else:
            player.leave()

    def _come(self, moment: float, player: Player) -> None:
        spans = presence(self._floor.load, player.number)
        end = next(end for start, end in spans if end > moment)
        player.join()
        player.prepare(moment, end)
        first = next(player.moments, None)
        if first is not None:
            heapq.heappush(self._heap, (first, CLICK, player.number))

    def _pulse(self) -> None:
        now = time.monotonic()
        self.loop_lag.record(now - self._expected)
        self._expected = now + BEAT
        self._beat = asyncio.get_running_loop().call_later(BEAT, self._pulse)
