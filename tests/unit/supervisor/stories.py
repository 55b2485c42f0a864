"""Replays the life of a crew without a process: a story is a list of things that happen, one per line."""

from __future__ import annotations

from collections.abc import Iterable

from headgate.supervisor.channel import Failed
from headgate.supervisor.crew import Crew
from headgate.supervisor.events import (
    Announce,
    Answer,
    Beat,
    BecameReady,
    BootFailed,
    Event,
    Exited,
    Finish,
    Kill,
    Order,
    Place,
    Probe,
    Probed,
    ReloadAsked,
    Say,
    SendStop,
    Spawn,
    Spawned,
    SpawnFailed,
    Started,
    StopAsked,
    Tell,
    Tick,
)
from headgate.supervisor.sequence import Limits

BROKER, GATEWAY = Place("broker", None, 0), Place("gateway", None, 0)
FAST, SLOW, JOBS = Place("app", "fast", 0), Place("app", "slow", 0), Place("jobs", None, 0)
ALL = (BROKER, GATEWAY, FAST, SLOW, JOBS)
NAMES = {"broker": BROKER, "gateway": GATEWAY, "fast": FAST, "slow": SLOW, "jobs": JOBS}
LIMITS = Limits(boot=60, stop=30, reload=300, heartbeat=15, move=90)


class Stage:
    """Plays events to a crew and writes its orders down in words.

    A process is called by its place and, after a number sign, its how-manieth run at that place:
    `fast#2` is the second process that was started for the fast lane. Its pid is 100 + the run.
    """

    def __init__(self, places: Iterable[Place] = ALL, limits: Limits = LIMITS) -> None:
        self.crew = Crew(places, limits)
        self.now = 1000.0
        self.runs: dict[str, int] = {}
        self.names: dict[int, str] = {}
        self.orders: list[Order] = []
        self.tick_every = 1.0
        self.all_beat = False
        """Whether all serving processes beat while time goes by."""
        self.no_room: tuple[str, ...] = ()
        """Places whose processes the machine refuses to start."""

    def play(self, *lines: str) -> list[str]:
        """Play the lines; returns the orders that the last one brought, in words. Logging is left out."""
        said: list[str] = []
        for line in lines:
            self.orders = []
            self._line(line)
            said = [words for order in self.orders if (words := self.words(order))]
        return said

    def booted(self) -> Stage:
        """All places filled and serving."""
        self.play("start")
        while self.crew.mode == "booting":
            waiting = [name for name, run in self.runs.items() if self.crew.runs[run].phase.name == "BOOTING"]
            self.play(*(f"{name} ready" for name in waiting))
        return self

    @property
    def log(self) -> str:
        """What the last line had the crew say."""
        return "\n".join(order.text for order in self.orders if isinstance(order, Say))

    def _line(self, line: str) -> None:
        who, _, rest = line.partition(" ")
        if who in ("start", "stop", "quick", "reload"):
            simple: dict[str, Event] = {"start": Started(), "stop": StopAsked(), "quick": StopAsked(quick=True)}
            ticket, _, gateways = rest.partition(" ")
            self._feed(simple.get(who) or ReloadAsked(int(ticket or 1), bool(gateways)))
        elif who == "wait":
            self._wait(float(rest))
        elif who == "sleep":  # the supervisor itself is held up: no ticks
            self.now += float(rest)
            self._feed(Tick())
        else:
            self._feed(self._event(self.runs[who], rest.split()))

    def _event(self, run: int, words: list[str]) -> Event:
        match words:
            case ["ready"]:
                return BecameReady(run)
            case ["beats"]:
                return Beat(run)
            case ["fails", *rest]:
                return BootFailed(run, Failed(" ".join(rest) or "no", "Traceback", "config" in rest))
            case ["exits", status]:
                return Exited(run, int(status))
            case ["cpu", seconds]:
                return Probed(run, float(seconds), stopped=False)
            case ["stopped"]:
                return Probed(run, 0.0, stopped=True)
        raise ValueError(words)

    def _wait(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + self.tick_every)
            for run in list(self.crew.runs) if self.all_beat else []:
                self._feed(Beat(run))
            self._feed(Tick())

    def _feed(self, event: Event) -> None:
        for order in self.crew.handle(event, self.now):
            self.orders.append(order)
            if isinstance(order, Spawn):
                self._spawned(order)

    def _spawned(self, order: Spawn) -> None:
        short = next(name for name, place in NAMES.items() if place == order.place)
        number = 1 + sum(name.partition("#")[0] == short for name in self.runs)
        name = short if number == 1 else f"{short}#{number}"
        self.runs[name], self.names[order.run] = order.run, name
        if short in self.no_room:
            self._feed(SpawnFailed(order.run, "no room"))
        else:
            self._feed(Spawned(order.run, 100 + order.run))

    def words(self, order: Order) -> str:
        match order:
            case Spawn(run, _, generation, replaces):
                return f"spawn {self.names[run]} gen {generation}" + (f" for {replaces}" if replaces else "")
            case SendStop(run, seconds):
                return f"stop {self.names[run]} {seconds:g}"
            case Kill(run):
                return f"kill {self.names[run]}"
            case Tell(run, kind, data):
                return f"tell {self.names[run]} {data.get('name', kind)}"
            case Probe(run):
                return f"probe {self.names[run]}"
            case Announce(state):
                return f"announce {state}"
            case Answer(ticket, failure):
                return f"answer {ticket} {failure.message if failure else 'done'}"
            case Finish(code, failure):
                return f"finish {code}" + (f" {failure.message}" if failure else "")
            case _:
                return ""


def acts(orders: list[str]) -> list[str]:
    """The orders without the news of deaths."""
    return [order for order in orders if not order.startswith("tell ")]
