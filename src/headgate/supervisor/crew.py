"""The crew: decides what to start, stop and replace. Pure: events in, orders out, and the time is a parameter.

The life of the whole: booting (broker, then gateways, then app and job workers) → running → stopping.
A process that fails to boot ends the whole while it is booting; later it only delays its own place, or,
in a reload, lets the old generation go on.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

from headgate.supervisor import liveness
from headgate.supervisor.channel import Failed
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
    Unlink,
)
from headgate.supervisor.liveness import Verdict
from headgate.supervisor.roster import PLANNED_ENDS, Phase, Post, Reload, Run
from headgate.supervisor.sequence import BOOT_STAGES, LAST_GRACE, RELOADED, Limits, early, may_stop

REAP_PATIENCE: Final = 10.0
"""Seconds after a kill at which a process counts as stuck in the kernel and is left behind."""
OVERSLEPT: Final = 5.0
"""A gap between ticks that means the supervisor itself was held up: silence then proves nothing."""


class Crew:
    """All processes of one supervisor.

    Args:
        places: what is to be filled, in the order of start.
        limits: the times that are allowed.
    """

    def __init__(self, places: Iterable[Place], limits: Limits) -> None:
        self.posts = {place: Post(place) for place in places}
        self.runs: dict[int, Run] = {}
        self.generation = 1
        self.mode: Literal["booting", "running", "stopping"] = "booting"
        self._limits = limits
        self._numbers = itertools.count(1)
        self._generations = itertools.count(2)
        self._reload: Reload | None = None
        self._waiting: list[ReloadAsked] = []
        self._stop_by = 0.0
        self._outcome = Finish(0)
        self._deaths: list[dict[str, Any]] = []
        self._ticked: float | None = None
        self._orders: list[Order] = []
        self._handlers: dict[type, Callable[[Any, float], None]] = {
            Started: self._started,
            Spawned: self._spawned,
            SpawnFailed: self._spawn_failed,
            BecameReady: self._became_ready,
            BootFailed: self._boot_failed,
            Beat: self._beat,
            Exited: self._exited,
            Probed: self._probed,
            StopAsked: self._stop_asked,
            ReloadAsked: self._reload_asked,
            Tick: self._tick,
        }

    def handle(self, event: Event, now: float) -> list[Order]:
        """Take one event at a monotonic time; returns the orders to carry out, in order."""
        self._handlers[type(event)](event, now)
        orders, self._orders = self._orders, []
        return orders

    # boot

    def _started(self, _: Started, now: float) -> None:
        self._advance_boot(now)

    def _advance_boot(self, now: float) -> None:
        """Fill the first stage that is not serving; when all serve, the boot is over."""
        for stage in BOOT_STAGES:
            posts = [post for post in self.posts.values() if post.place.role in stage]
            for post in posts:
                if post.run is None and post.restart_at is None:
                    post.run = self._spawn(post.place, self.generation, None, now)
            if not all(self._serves(post) for post in posts):
                return
        self.mode = "running"
        self._orders.append(Announce("ready"))
        self._begin_waiting_reload(now)

    def _serves(self, post: Post) -> bool:
        return post.run is not None and self.runs[post.run].phase is Phase.SERVING

    def _spawn(self, place: Place, generation: int, replaces: str | None, now: float) -> int:
        run = Run(next(self._numbers), place, generation, since=now)
        self.runs[run.id] = run
        self._orders.append(Spawn(run.id, place, generation, replaces))
        return run.id

    def _spawned(self, event: Spawned, _: float) -> None:
        run = self.runs[event.run]
        run.pid = event.pid
        if run.place.role == "broker":
            self._orders += [Tell(run.id, "worker_died", death) for death in self._deaths]
            self._deaths = []

    def _spawn_failed(self, event: SpawnFailed, now: float) -> None:
        run = self.runs[event.run]
        run.failure = Failed(f"{run.place.name} could not be started: {event.why}", "", False)
        self._gone(run, 1, now)

    def _became_ready(self, event: BecameReady, now: float) -> None:
        run = self.runs.get(event.run)
        if run is None or run.phase is not Phase.BOOTING:
            return
        run.phase, run.ready_at, run.beat_at = Phase.SERVING, now, now
        if self.mode == "booting":
            self._advance_boot(now)
        elif self._in_reload(run):
            self._advance_reload(now)
        else:
            self._say("info", f"{run.place.name} (pid {run.pid}) serves")

    def _boot_failed(self, event: BootFailed, now: float) -> None:
        """Decide on the child's own word; its exit follows, or is brought about."""
        run = self.runs.get(event.run)
        if run is None or run.phase is not Phase.BOOTING:
            return
        run.failure = event.failure
        run.deadline = now + LAST_GRACE
        self._boot_ended(run, event.failure, now)

    def _boot_ended(self, run: Run, end: Failed, now: float) -> bool:
        """A process that has not served will not: True when that was all there was to decide."""
        failure = run.failure or end
        if self.mode == "booting":
            self._give_up(failure, now)
            return True
        if self._in_reload(run):
            self._abort_reload(failure, now)
            return True
        return False

    # death and restart

    def _exited(self, event: Exited, now: float) -> None:
        run = self.runs.get(event.run)
        if run is not None:
            self._gone(run, event.status, now)

    def _gone(self, run: Run, status: int, now: float) -> None:
        del self.runs[run.id]
        if run.place.role == "gateway":
            self._orders.append(Unlink(run.id))
        self._tell_of_death(run)
        if self.mode == "stopping":
            self._advance_stop(now)
        elif run.phase is not Phase.LEAVING:
            self._lost(run, self.posts[run.place], status, now)

    def _lost(self, run: Run, post: Post, status: int, now: float) -> None:
        """A process ended that nobody told to."""
        ended = run.ended(status)
        starting = run.phase is Phase.BOOTING or self._in_reload(run)
        if starting and self._boot_ended(run, Failed(early(ended, run), "", False), now):
            return
        if run.phase is Phase.SERVING and run.place.role == "jobs" and status in PLANNED_ENDS:
            level, why = PLANNED_ENDS[status]
            post.made_place(run, now)
            self._say(level, f"{run.place.name} (pid {run.pid}) {why}; a fresh one takes its place")
            self._restart_due(now)
            return
        delay = post.crashed(run, now)
        again = "again at once" if delay == 0 else f"again in {delay:g} s"
        why = f"\n{run.failure.traceback or run.failure.message}" if run.failure else ""
        self._say("error", f"{ended}; it is started {again}{why}")
        self._restart_due(now)

    def _tell_of_death(self, run: Run) -> None:
        """Tell all others; a broker that is not there now hears of it when it comes back."""
        if not run.pid:
            return
        death = {"name": run.name, "role": run.place.role, "lane": run.place.lane}
        present = [other for other in self.runs.values() if other.pid]
        self._orders += [Tell(other.id, "worker_died", death) for other in present]
        brokers = [run, *present]
        if Place("broker", None, 0) in self.posts and not any(each.place.role == "broker" for each in brokers):
            self._deaths = [*self._deaths[-999:], death]

    def _restart_due(self, now: float) -> None:
        if self._reload:
            return  # the new generation fills the place; after an aborted reload the restart is due again
        for post in self.posts.values():
            if post.run is None and post.restart_at is not None and post.restart_at <= now:
                post.restart_at = None
                post.restarts += not post.planned
                post.run = self._spawn(post.place, self.generation, post.last, now)

    # reload

    def _in_reload(self, run: Run) -> bool:
        return self._reload is not None and run.id in self._reload.runs.values()

    def _reload_asked(self, event: ReloadAsked, now: float) -> None:
        if self.mode == "stopping":
            self._orders.append(Answer(event.ticket, Failed("Headgate is stopping.", "", False)))
            return
        self._waiting.append(event)
        self._begin_waiting_reload(now)

    def _begin_waiting_reload(self, now: float) -> None:
        """Start the next generation, unless the boot or another reload is under way: then it comes after that."""
        if not self._waiting or self._reload or self.mode != "running":
            return
        roles = RELOADED | {"gateway"} if any(asked.gateways for asked in self._waiting) else RELOADED
        reload = Reload(next(self._generations), [asked.ticket for asked in self._waiting])
        self._reload, self._waiting = reload, []
        self._orders.append(Announce("reloading"))
        for place in self.posts:
            if place.role in roles:
                reload.runs[place] = self._spawn(place, reload.generation, None, now)
        self._say("info", f"Generation {reload.generation} is starting")
        self._advance_reload(now)

    def _advance_reload(self, now: float) -> None:
        """Once all of the new generation serve, they take the places and the old ones finish their work."""
        reload = self._reload
        if reload is None or any(self.runs[run].phase is not Phase.SERVING for run in reload.runs.values()):
            return
        self.generation = reload.generation
        for run in self.runs.values():
            if run.phase is Phase.LEAVING:  # two reloads old: memory for three generations is too much
                self._send_stop(run, self._limits.stop, now)
        for place, number in reload.runs.items():
            post = self.posts[place]
            if place.role == "gateway":
                self._orders.append(Tell(number, "begin", {}))
            if post.run is not None and post.run in self.runs:
                self._retire(self.runs[post.run], now)
            post.run, post.restart_at, post.crashes = number, None, 0
        self._say("info", f"Generation {reload.generation} serves")
        self._end_reload(reload, None, now)

    def _retire(self, run: Run, now: float) -> None:
        """One of the old generation finishes: its work, or a gateway its sockets."""
        if run.place.role == "gateway":
            self._orders.append(Tell(run.id, "successor", {}))
            self._send_stop(run, self._limits.move, now)
        else:
            self._send_stop(run, self._limits.reload, now)

    def _abort_reload(self, failure: Failed, now: float) -> None:
        reload = self._reload
        if reload is None:
            return
        for run in [self.runs[number] for number in reload.runs.values() if number in self.runs]:
            if run.phase is Phase.SERVING:  # it may have taken work already
                self._send_stop(run, self._limits.stop, now)
            else:
                self._kill(run, now)
        self._say("error", f"Generation {reload.generation} failed to start; the old one serves on. {failure.message}")
        self._end_reload(reload, failure, now)

    def _end_reload(self, reload: Reload, failure: Failed | None, now: float) -> None:
        self._reload = None
        self._orders += [Answer(ticket, failure) for ticket in reload.tickets]
        self._orders.append(Announce("ready"))
        self._restart_due(now)
        self._begin_waiting_reload(now)

    # stop

    def _stop_asked(self, event: StopAsked, now: float) -> None:
        if event.quick:
            self._stop_by = now
            for run in self.runs.values():
                if run.place.role != "broker":
                    self._kill(run, now)
            self._begin_stop(now)
        elif self.mode != "stopping":
            self._stop_by = now + self._limits.stop
            self._begin_stop(now)

    def _give_up(self, failure: Failed, now: float) -> None:
        """The first generation cannot serve: end everything and say why."""
        self._outcome = Finish(2 if failure.config else 1, failure)
        self._stop_by = now + LAST_GRACE
        self._begin_stop(now)

    def _begin_stop(self, now: float) -> None:
        if self.mode != "stopping":
            self.mode = "stopping"
            self._orders.append(Announce("stopping"))
            stopping = Failed("Headgate was stopped meanwhile.", "", False)
            tickets = [*(self._reload.tickets if self._reload else []), *(asked.ticket for asked in self._waiting)]
            self._orders += [Answer(ticket, stopping) for ticket in tickets]
            self._reload, self._waiting = None, []
        self._advance_stop(now)

    def _advance_stop(self, now: float) -> None:
        """Tell those to stop whose turn it is; finish when nobody is left."""
        if not self.runs:
            self._orders.append(self._outcome)
            return
        for run in may_stop(self.runs.values()):
            if run.phase is Phase.BOOTING:
                self._kill(run, now)
            elif run.phase is Phase.SERVING or (run.deadline or 0.0) > self._stop_by + LAST_GRACE:
                self._send_stop(run, max(self._stop_by - now, LAST_GRACE), now)

    def _send_stop(self, run: Run, seconds: float, now: float) -> None:
        """Tell a process to finish; one that was told before can only get less time."""
        if run.phase is Phase.LEAVING and run.deadline is not None and run.deadline <= now + seconds:
            return
        run.phase, run.deadline = Phase.LEAVING, now + seconds
        self._orders.append(SendStop(run.id, seconds))

    def _kill(self, run: Run, now: float) -> None:
        """Kill a process whose end is wanted."""
        run.phase, run.killed_at, run.deadline = Phase.LEAVING, now, now
        self._orders.append(Kill(run.id))

    # time

    def _tick(self, _: Tick, now: float) -> None:
        overslept = self._ticked is not None and now - self._ticked > OVERSLEPT
        self._ticked = now
        for run in list(self.runs.values()):
            if overslept:
                run.beat_at, run.probed = now, None
            self._check(run, now)
        if self.mode != "stopping":
            self._restart_due(now)
        elif self.runs and all(now - (run.killed_at or now) > REAP_PATIENCE for run in self.runs.values()):
            self._say("error", "Killed processes do not end; the system holds them. They are left behind.")
            self._orders.append(Finish(1, self._outcome.failure))

    def _check(self, run: Run, now: float) -> None:
        """Hold one process to its times."""
        if run.killed_at is not None:
            return
        if run.deadline is not None and now >= run.deadline:
            self._put_down(run, "was killed: it did not finish in time", now)
        elif run.phase is Phase.BOOTING and now - run.since > self._limits.boot:
            self._put_down(run, f"was killed: it was not ready within {self._limits.boot:g} s (boot_timeout)", now)
        elif run.phase is Phase.SERVING:
            verdict = liveness.judge(run, now, self._limits.heartbeat)
            self._act_on(verdict, run, now)

    def _act_on(self, verdict: Verdict, run: Run, now: float) -> None:
        if verdict is Verdict.UNSURE:
            self._orders.append(Probe(run.id))
        elif verdict is Verdict.STALLED:
            self._put_down(run, f"was killed: it was silent for {now - run.beat_at:.0f} s (heartbeat_timeout)", now)

    def _put_down(self, run: Run, why: str, now: float) -> None:
        """Kill a process for what it does; what follows from its end depends on what it was."""
        run.killed_at, run.killed_for = now, why
        if run.phase is Phase.LEAVING:
            self._say("warning", f"{run.place.name} (pid {run.pid}) {why}")
        self._orders.append(Kill(run.id))

    def _beat(self, event: Beat, now: float) -> None:
        run = self.runs.get(event.run)
        if run is not None:
            run.beat_at, run.probed = now, None

    def _probed(self, event: Probed, now: float) -> None:
        run = self.runs.get(event.run)
        if run is None or run.phase is not Phase.SERVING or run.killed_at is not None:
            return
        if liveness.weigh(run, event, now, self._limits.heartbeat) is Verdict.STALLED:
            self._act_on(Verdict.STALLED, run, now)

    def _say(self, level: Literal["info", "warning", "error"], text: str) -> None:
        self._orders.append(Say(level, text))
