"""`kill -9` in the middle of a job: how long until the job's first line runs again.

Two cases: only the process that runs the job is killed, and the rest goes on; or all of the engine's worker processes
are killed at once and started again at once, as by a service manager after a machine's trouble. All engines of a
round wait side by side, since waiting takes no processor; kills and restarts are done one after the other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from bench.jobs.hosts import Engine
from bench.jobs.speed import finish, folder_of_a_turn, headgate, kill, start_workers, where
from bench.rounds import Row
from tests.support.marked import bearers, new_mark
from tests.support.redis import Redis
from tests.support.wait import NeverCame, until

CAP = 60.0
"""Seconds after which nobody waits any longer."""
MIDDLE = 0.5
"""Seconds that the job has run when its worker is killed; it would take three."""
SETTLE = 1.0
"""Seconds for what starts again, before the next engine's turn to be killed."""
CASES = ("one", "all")


def begins(folder: Path) -> list[tuple[int, float]]:
    """(process id, moment) of each time that the job began."""
    try:
        text = (folder / "crashes").read_text()
    except FileNotFoundError:
        return []
    return [(int(pid), float(moment)) for pid, moment in (line.split() for line in text.splitlines())]


class Victims:
    """The workers of one engine in one case."""

    def __init__(self, engine: Engine, folder: Path, stack: ExitStack, mark: dict[str, str]) -> None:
        self._engine, self._folder, self._stack, self._mark = engine, folder, stack, mark
        self._redis = stack.enter_context(Redis()) if engine.redis else None
        self._env = engine.environment(folder, {**where(self._redis, folder), **self._mark})
        self.start()

    def start(self) -> None:
        """Start the workers, again after a kill."""
        if self._engine.peer is not None:
            assert self._redis is not None
            started = start_workers(self._engine, self._env, self._folder, self._redis)
            self._stack.callback(lambda: [worker.stop(seconds=3.0) for worker in started])
            return
        server = headgate(self._env, self._folder, "served")
        # Headgate gives its processes a mark of its own.
        self._mark.update(server.mark)
        self._stack.callback(server.stop)

    def produce(self) -> None:
        finish(self._engine.produce(self._env, "crash"))

    def strike(self, case: str) -> float:
        """Kill the process that runs the job, or all; returns the moment."""
        pids = [begins(self._folder)[-1][0]] if case == "one" else list(bearers(self._mark))
        moment = time.time()
        kill(pids)
        if case == "all":
            until(lambda: not bearers(self._mark), "all workers gone")
            self.start()
        return moment


def turn(engine: Engine, case: str, turns: threading.Lock) -> float:
    """Seconds from the kill until the job's first line ran again; the cap when it did not."""
    mark = new_mark()
    with folder_of_a_turn(mark) as folder, ExitStack() as stack:
        with turns:  # engines that start at once would hold each other up
            victims = Victims(engine, folder, stack, mark)
            victims.produce()
            until(lambda: begins(folder), f"{engine.label}: the job began", 60)
            time.sleep(MIDDLE)
            if len(begins(folder)) != 1:
                raise RuntimeError(f"{engine.label} ran the job twice before anything was killed: {begins(folder)}")
            killed = victims.strike(case)
            time.sleep(SETTLE)
        try:
            until(lambda: len(begins(folder)) > 1, "the job runs again", CAP, every=0.2)
        except NeverCame:
            return CAP
        return min(begins(folder)[1][1] - killed, CAP)


def crash_round(engines: Mapping[str, Engine]) -> Row:
    """All engines in both cases; keys are `engine.case`."""
    turns = threading.Lock()
    wanted = [(key, case) for key in engines for case in CASES]
    with ThreadPoolExecutor(len(wanted)) as pool:
        waiting = {(key, case): pool.submit(turn, engines[key], case, turns) for key, case in wanted}
        return {f"{key}.{case}": future.result() for (key, case), future in waiting.items()}


def shown(seconds: float) -> str:
    """0.31, 12.4, or that it did not come."""
    return f"> {CAP:.0f}" if seconds >= CAP else f"{seconds:.2f}" if seconds < 10 else f"{seconds:.1f}"
