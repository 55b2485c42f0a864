"""Decisions: read how a job stands, ask `base.lifecycle`, commit if it still stands so; else look again."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from headgate.base import lifecycle
from headgate.base.errors import Unavailable, UnknownJob
from headgate.base.lifecycle import Step
from headgate.base.model import CANCELS, JobState, Outcome, Settlement
from headgate.drivers.redis.records import STATES, Stood, pack

Run = Callable[..., Awaitable[Any]]
"""`run(operation, arguments)`: an operation of the scripts."""

AT_ONCE = 100
"""Jobs in one commit: scripts must not hold up the server."""
ATTEMPTS = 20
"""Looks at a job that others keep changing, before giving up."""


class Decisions:
    """All changes of state that are not the plain success.

    Args:
        run: runs an operation.
        chance: where back-offs get their jitter.
    """

    def __init__(self, run: Run, chance: random.Random | None = None) -> None:
        self._run = run
        self._random = chance or random.Random()

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """End claims; False where the fence refuses. One that is repeated is answered as the first time."""
        flags: dict[int, bool] = {}
        quick = [(at, said) for at, said in enumerate(settlements) if said.outcome is Outcome.SUCCEEDED]
        for start in range(0, len(quick), AT_ONCE):
            part = quick[start : start + AT_ONCE]
            reply = await self._run("succeed", [value for _, said in part for value in _success(said)])
            flags |= {at: bool(good) for (at, _), good in zip(part, reply, strict=True)}
        rest = {said.id: (at, said) for at, said in enumerate(settlements) if at not in flags}

        def decide(stood: Stood) -> tuple[Step, dict[str, Any]] | None:
            at, said = rest[stood.id]
            flags[at] = stood.epoch == said.epoch
            if not flags[at] or stood.state is not JobState.RUNNING:
                return None
            step = lifecycle.settled(stood.standing, said, self._random.random())
            return step, {"cpu": said.cpu, "rss": said.peak_rss}

        await self._each(list(rest), decide)
        return [flags.get(at, False) for at in range(len(settlements))]

    async def lose(
        self, begun: Mapping[str, bool], worker: str | None = None, *, epochs: Mapping[str, int] | None = None
    ) -> int:
        """Claims whose holder is gone.

        Args:
            begun: the jobs, and whether each had been begun.
            worker: only its claims, if it is named.
            epochs: of the claims that are meant: one that was made later belongs to somebody who lives.

        Returns:
            How many were lost.
        """
        done = 0

        def decide(stood: Stood) -> tuple[Step, dict[str, Any]] | None:
            nonlocal done
            if stood.state is not JobState.RUNNING or (worker is not None and stood.worker != worker):
                return None
            if epochs is not None and stood.epoch != epochs[stood.id]:
                return None
            done += 1
            return lifecycle.lost(stood.standing, stood.worker or "a job worker", begun=begun[stood.id]), {
                "fence": True
            }

        await self._each(list(begun), decide)
        return done

    async def overdue(self, jobs: Sequence[str]) -> None:
        """Waiting jobs whose deadline has passed."""

        def decide(stood: Stood) -> tuple[Step, dict[str, Any]] | None:
            if stood.state not in (JobState.QUEUED, JobState.SCHEDULED):
                return None
            return lifecycle.overdue(stood.standing), {}

        await self._each(jobs, decide)

    async def cancel(self, job: str) -> JobState:
        """Cancel a waiting job, or ask a running one to end. Raises `UnknownJob`, `WrongState`."""
        for _ in range(ATTEMPTS):
            stood = await self._stood(job)
            step = lifecycle.cancelled(stood.standing)
            if step is None:
                if await self._run("ask_cancel", [job, stood.epoch, CANCELS]):
                    return JobState.RUNNING
            elif (state := await self._became(stood.commit(step))) is not None:
                return state
        raise _contended(job)

    async def revive(self, job: str) -> JobState:
        """Put a failed or cancelled job back. Raises `UnknownJob`, `WrongState`."""
        for _ in range(ATTEMPTS):
            stood = await self._stood(job)
            step = lifecycle.revived(stood.standing)
            if (state := await self._became(stood.commit(step, anew=True))) is not None:
                return state
        raise _contended(job)

    async def _each(self, jobs: Sequence[str], decide: Callable[[Stood], tuple[Step, dict[str, Any]] | None]) -> None:
        left = list(jobs)
        for _ in range(ATTEMPTS):
            if not left:
                return
            now, later = left[:AT_ONCE], left[AT_ONCE:]
            found = await self._run("standing", now)
            steps = []
            for job, fields in zip(now, found, strict=True):
                decided = None if fields is None else decide(stood := Stood(job, fields))
                if decided is not None:
                    steps.append((job, stood.commit(decided[0], **decided[1])))
            done = await self._commit([step for _, step in steps]) if steps else []
            again = [job for (job, _), good in zip(steps, done, strict=True) if not good]
            if not again and later:
                await self._each(later, decide)
                return
            left = again + later
        if left:
            raise _contended(left[0])

    async def _stood(self, job: str) -> Stood:
        (fields,) = await self._run("standing", [job])
        if fields is None:
            raise UnknownJob(f"no job has the id {job}: it never existed, or its time to live is over")
        return Stood(job, fields)

    async def _became(self, step: list[Any]) -> JobState | None:
        """The state that a job came into; None if it had moved on meanwhile."""
        (done,) = await self._commit([step])
        return STATES[done - 1] if done else None

    async def _commit(self, steps: list[Any]) -> list[int]:
        return list(await self._run("commit", steps))


def _success(said: Settlement) -> tuple[Any, ...]:
    result = said.result if said.result is not None else pack(None)
    return said.id, said.epoch, result, said.cpu or False, said.peak_rss or False


def _contended(job: str) -> Unavailable:
    return Unavailable(f"job {job} changes faster than it can be decided about; try again")
