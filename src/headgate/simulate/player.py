"""One simulated user at run time: its connection, its clicks, its books."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from headgate.simulate.errors import ScenarioError, ScenarioStopped, TargetError
from headgate.simulate.floor import Floor
from headgate.simulate.ledger import Ledger, Outcome, Pending
from headgate.simulate.scenario import Action, Reply, User
from headgate.simulate.schedule import user_rng
from headgate.simulate.wire.port import Wire

FIRST_BACKOFF: Final = 0.1
LONGEST_BACKOFF: Final = 5.0
COUNTERS: Final = {"error": "errors", "result": "results", "event": "events", "repeated_event": "repeated_events"}


class Player:
    """Plays one user on the generator's floor.

    Args:
        number: which user, counted from 0 over all processes.
        floor: what all players of this process share.
    """

    def __init__(self, number: int, floor: Floor) -> None:
        self.number = number
        self.frozen = False
        self._floor = floor
        self.rng: random.Random = user_rng(floor.seed, number)
        self.user = User(number, random.Random(f"{floor.seed}/{number}/data"))
        self.ledger = Ledger(self.user, floor.scenario.ordered)
        self.moments: Iterator[float] = iter(())
        self._wire: Wire | None = None
        self._closed = asyncio.Event()
        self._waiting: deque[tuple[int, Action, float]] = deque()
        self._replies: deque[Any] = deque()
        self.connections = 0
        self._departing = False
        self._gone = False
        self._staying = False
        self._tried = False
        self._cut = False

    # presence

    def join(self) -> asyncio.Task[None]:
        """Come on: connect, and stay connected until `leave`."""
        self._departing = self._gone = False
        self._staying = True
        return self._floor.spawn(self._stay())

    def retry(self) -> None:
        """Try again after a first attempt that failed before the start."""
        if self._tried and not self._staying:
            self.join()

    def leave(self) -> None:
        """Click no more, and go when the last answer is in."""
        self._departing = True
        if not self.outstanding:
            self.go()

    def go(self) -> None:
        """Go now, with a proper goodbye."""
        self._gone = True
        if self._wire is not None:
            self._wire.close()
        self._closed.set()

    @property
    def outstanding(self) -> int:
        """Clicks that still await something, or wait to be sent."""
        return self.ledger.awaited(self.connections) + len(self._waiting)

    def cut(self) -> None:
        """Lose the connection as a broken network does; a reconnect follows."""
        self._disturb()
        self._cut = True
        wire, self._wire = self._wire, None  # nothing is sent into what is cut: it waits for the next connection
        if wire is not None:
            wire.abort()

    def freeze(self, frozen: bool) -> None:
        """Stop (or go on) reading from the socket and clicking."""
        if frozen:
            self._disturb()
        self.frozen = frozen
        if self._wire is not None:
            (self._wire.pause if frozen else self._wire.resume)()

    def _disturb(self) -> None:
        self.ledger.disturb(self._floor.now(), self._floor.patience)

    @property
    def connected(self) -> bool:
        return self._wire is not None

    async def _stay(self) -> None:
        """Connect, and come back after each unexpected close, waiting longer after each failure."""
        self._tried, failures = True, 0
        try:
            while not self._gone:
                failures = 0 if await self._visit() else failures + 1
                if self._floor.opening or not self._floor.scenario.reconnect:
                    return
                if not self._gone:
                    await asyncio.sleep(self._backoff(failures))
        finally:
            self._staying = False

    async def _visit(self) -> bool:
        """One connection, from its opening to its end; False when it cannot be opened."""
        self._closed.clear()
        try:
            await self._connect()
        except TargetError as error:
            self._floor.connect_failed(error)
            return False
        await self._closed.wait()
        return True

    def _backoff(self, failures: int) -> float:
        longest = min(FIRST_BACKOFF * 2**failures, LONGEST_BACKOFF)
        return float(longest * (0.5 + self.user.rng.random() / 2))

    async def _connect(self) -> None:
        wire = self._floor.make_wire(self)
        await wire.open()
        if self._gone:
            wire.close()
        if self._gone or self._closed.is_set():
            return  # it closed again before we heard that it had opened
        self._wire = wire
        self.connections += 1
        self._floor.count("opened" if self.connections == 1 else "reconnects")
        if self.frozen:
            wire.pause()
        scenario = self._floor.scenario
        greeting = list(self._ask(scenario.greet))
        if self.connections > 1:
            greeting += self._ask(scenario.resume)
        for message in greeting:
            wire.send(message)
        while self._replies and self._wire is wire:
            wire.send(self._replies.popleft())
        while self._waiting and self._wire is wire:
            self._send(*self._waiting.popleft())

    # clicking

    def prepare(self, start: float, end: float) -> None:
        """Set up this user's moments for one span of presence."""
        self.moments = self._floor.moments_of(self.user, self.rng, start, end)

    def click(self, intended: float) -> None:
        """Do the click that was meant for `intended` seconds after the start."""
        floor = self._floor
        heavy = self.rng.random() < floor.heavy
        if self.frozen:
            floor.count("withheld")
            return
        click_id = self.ledger.new_id()
        action = self._ask(floor.scenario.act, click_id, heavy)
        floor.count("clicks")
        if self._wire is None:
            self._waiting.append((click_id, action, intended))
        else:
            self._send(click_id, action, intended)

    def _send(self, click_id: int, action: Action, intended: float) -> None:
        assert self._wire is not None
        now = self._floor.now()
        # A timer that fires early must not make a latency look longer than it was.
        self.ledger.sent(click_id, action, min(intended, now), now, self.connections)
        self._floor.count("sent")
        try:
            self._wire.send(action.message, click_id)
        except (TypeError, ValueError) as error:
            self._floor.scenario_failed(ScenarioError(f"the message of {action.name!r} cannot be sent: {error}"))

    def _ask(self, hook: Any, *args: Any) -> Any:
        """Call a hook of the scenario; what it raises ends the run."""
        try:
            return hook(self.user, *args)
        except Exception as error:
            self._floor.scenario_failed(error)
            raise ScenarioStopped from error

    # Sink

    def received(self, message: Any, at: float) -> None:
        floor = self._floor
        try:
            reply: Reply | None = floor.scenario.read(self.user, message)
        except Exception as error:
            floor.scenario_failed(error)
            return
        if reply is None or reply.kind != "lost":
            floor.count("messages")
        if reply is not None:
            self._book(self.ledger.read(reply), at - floor.origin, reply.detail)
            if reply.kind == "error" and reply.detail is not None:
                floor.count(f"errors.{reply.detail}")
            if reply.then is not None:
                asyncio.get_running_loop().call_later(reply.wait, self._reply, reply.then)
            if self._departing and not self.outstanding:
                self.go()

    def _reply(self, message: Any) -> None:
        if self._floor.over:
            return
        if self._wire is None:
            self._replies.append(message)
        else:
            self._wire.send(message)

    def retried(self) -> None:
        self._floor.count("retried")

    def upgraded(self, moved: bool) -> None:
        self._floor.count("upgrades" if moved else "upgrades_failed")

    def closed(self, code: int, reason: str) -> None:
        self._wire = None
        if not self._gone and not self._cut and not self._floor.over:
            self._floor.disconnected(code, reason)
        self._cut = False
        self._closed.set()

    def _book(self, outcome: Outcome, at: float, detail: str | None) -> None:
        measure, click = self._floor.measure, outcome.click
        verdict, _, ending = outcome.verdict.partition("+")
        if verdict == "lost" and click is not None:
            self._miss(click, detail or "no answer can come any more")
            return
        measure.count(COUNTERS.get(verdict, verdict), at, 1 + len(outcome.others))
        if outcome.out_of_order:
            measure.count("out_of_order", at)
        if click is None:
            return
        if verdict == "answered":
            self._time(click, at, "", service=True)
        elif verdict == "error":
            # Saying no is quick: among the answers it would make a full server look fast.
            self._time(click, at, ".refused")
        if ending or verdict in ("result", "failed"):
            if ending:
                measure.count(COUNTERS.get(ending, ending), at)
            for each in (click, *outcome.others):
                self._time(each, at, ".result")

    def _time(self, click: Pending, at: float, suffix: str, service: bool = False) -> None:
        if click.disturbed:
            self._floor.measure.count("disturbed", at)
            return
        self._floor.time(click.name + suffix, click.intended, at - click.intended)
        if service:
            self._floor.measure.time(click.name + ".service", click.intended, at - click.sent)

    def settle(self, patience: float) -> None:
        """The run is over: what still waits is lost, unless the run was cut short or cut it off itself.

        Args:
            patience: seconds that the server had to answer; what has waited less is abandoned, not lost.
        """
        measure, now = self._floor.measure, self._floor.now()
        for click, awaited in self.ledger.abandon():
            if now - click.sent < patience:
                measure.count("abandoned", click.intended)
                continue
            gone = click.connection != self.connections or self._wire is None
            cause = f"no {awaited} until the end" + (", and its connection had closed" if gone else "")
            if awaited == "answer":
                self._miss(click, cause)
            else:
                measure.lose(click.name + ".result", click.intended, cause)
        for _, action, intended in self._waiting:
            if now - intended < patience:
                measure.count("abandoned", intended)
            else:
                measure.lose(action.name, intended, "never sent: no connection until the end")

    def _miss(self, click: Pending, cause: str) -> None:
        """The click's answer will not come: lost, unless the run itself cut it off."""
        if click.excused:
            self._floor.measure.count("abandoned", click.intended)
        else:
            self._floor.measure.lose(click.name, click.intended, cause)
