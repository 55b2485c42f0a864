"""The writer: chunks from a source into one table, each committed together with its checkpoint.

While chunk k merges on one connection, chunk k+1 is read, encoded and staged on the other. Whatever goes
wrong with a chunk is then resolved alone and in order: tried again, halved, or bisected down to the bad rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from headgate.base.errors import LeaseLost
from headgate.bulk.chunks import Chunk, Chunks
from headgate.bulk.engine import Database
from headgate.bulk.failures import Refused, TryAgain
from headgate.bulk.mark import Mark, digest, read_mark
from headgate.bulk.model import Advance, Merged, Plan, Politeness, Position, Reject, Result
from headgate.bulk.patience import Patience
from headgate.bulk.progress import Watcher
from headgate.bulk.rejects import Rejects
from headgate.bulk.returned import Returned
from headgate.bulk.spans import Spans
from headgate.bulk.steer import Steering

T = TypeVar("T")
_SIGNAL_SECONDS = 1.0
"""How often the signal that pauses a write is asked."""


@dataclass(frozen=True)
class Identity:
    """Under which name a write keeps its checkpoint.

    `keep`: the finished checkpoint stays for a while, so that a late retry finds the work done.
    """

    name: str
    fence: int
    keep: bool


@dataclass
class _Flight:
    """A chunk whose merge runs in the other thread."""

    chunk: Chunk
    lane: int
    advance: Advance
    merged: Future[Merged]


class Writer:
    """One bulk write; `run` is called once."""

    def __init__(
        self,
        database: Database,
        plan: Plan,
        chunks: Chunks,
        identity: Identity,
        politeness: Politeness,
        rejects: Rejects,
        watcher: Watcher,
        returned: Returned,
        patience: Patience,
        total: int | None,
    ) -> None:
        self._database = database
        self._plan = plan
        self._chunks = chunks
        self._identity = identity
        self._politeness = politeness
        self._rejects = rejects
        self._watcher = watcher
        self._returned = returned
        self._patience = patience
        self._total = total
        self._steering = Steering(politeness)
        self._position: Position
        self._uncounted: list[int] = []
        self._committed_chunks = 0
        self._ask_at = 0.0

    def run(self) -> Result:
        """Write everything that the checkpoint does not have yet.

        Raises:
            BadRow, SourceChanged, Stuck, LeaseLost, JobCancelled, and what the source itself raises.
        """
        began = time.perf_counter()
        self._position = self._patiently(lambda: self._database.claim(self._identity.name, self._identity.fence))
        resumed = self._position.pos
        if not self._position.done:
            self._rejects.resume(resumed)
            self._chunks.start(self._position, read_mark(self._position.mark))
            self._flow()
            self._patiently(lambda: self._database.finish(self._position, self._identity.keep))
        return self._result(time.perf_counter() - began, resumed)

    def _result(self, seconds: float, resumed: int) -> Result:
        return Result(
            name=self._identity.name,
            operation=self._plan.operation.value,
            table=self._plan.table.label,
            rows=self._position.pos,
            written=self._position.written,
            rejected=self._position.rejected,
            seconds=seconds,
            resumed_at=resumed,
            chunks=self._committed_chunks,
            retries=self._patience.retries,
        )

    def _flow(self) -> None:
        flight: _Flight | None = None
        lane = 0
        with self._merging() as pool:
            while (chunk := self._next()) is not None:
                staged = self._staged(chunk, lane) if pool is not None else False
                if flight is not None:
                    self._settle(flight)
                    flight = None
                if staged and pool is not None:
                    flight = self._launch(pool, chunk, lane)
                    lane = 1 - lane
                else:
                    self._keep(chunk.bad)
                    self._land(chunk, lane)
            if flight is not None:
                self._settle(flight)
        if self._chunks.obstacle is not None:
            self._keep([self._chunks.obstacle])

    @contextmanager
    def _merging(self) -> Iterator[ThreadPoolExecutor | None]:
        if not self._database.overlaps:
            yield None
            return
        with ThreadPoolExecutor(1, thread_name_prefix="headgate-bulk") as pool:
            yield pool

    def _next(self) -> Chunk | None:
        self._watcher.check()
        self._pause()
        return self._chunks.read(self._steering.rows)

    def _pause(self) -> None:
        """Wait while the signal says that others suffer; the write can be cancelled meanwhile."""
        signal = self._politeness.pause
        if signal is None or time.monotonic() < self._ask_at:
            return
        while (reason := signal()) is not None:
            self._watcher.moved(self._position.pos, self._total, paused=reason)
            self._watcher.check()
            time.sleep(_SIGNAL_SECONDS)
        self._ask_at = time.monotonic() + _SIGNAL_SECONDS

    def _staged(self, chunk: Chunk, lane: int) -> bool:
        """Stage ahead of its turn; False when that failed, for the chunk to be resolved in its turn."""
        try:
            self._database.stage(lane, chunk.lines)
        except (Refused, TryAgain):
            return False
        return True

    def _launch(self, pool: ThreadPoolExecutor, chunk: Chunk, lane: int) -> _Flight:
        try:
            self._keep(chunk.bad)
        except BaseException:
            self._database.discard(lane)
            raise
        advance = self._advance(chunk, len(chunk.lines))
        return _Flight(chunk, lane, advance, pool.submit(self._database.merge, lane, advance))

    def _settle(self, flight: _Flight) -> None:
        try:
            merged = flight.merged.result()
        except Refused:
            self._land(flight.chunk, flight.lane)
        except TryAgain as problem:
            self._patience.failed(problem)
            if problem.lost and self._landed_anyway(flight.advance):
                return
            if problem.smaller:
                self._steering.halve()
            self._land(flight.chunk, flight.lane)
        else:
            self._committed(flight.advance, merged, len(flight.chunk.lines))

    def _land(self, chunk: Chunk, lane: int) -> None:
        """Bring a chunk in alone, whatever it takes; all before it is committed."""
        spans = Spans(len(chunk.lines))
        while (span := spans.current()) is not None:
            low, high = span
            advance = self._advance(chunk, high)
            try:
                self._database.stage(lane, chunk.lines[low:high])
                merged = self._database.merge(lane, advance)
            except Refused as refused:
                bad = spans.failed(refused.index)
                if bad is not None:
                    self._keep([self._chunks.reject(chunk, bad, refused.column, refused.reason)])
            except TryAgain as problem:
                self._try_again(problem, spans, advance)
            else:
                spans.landed()
                self._committed(advance, merged, high - low)
        self._step_over(chunk, lane)

    def _try_again(self, problem: TryAgain, spans: Spans, advance: Advance) -> None:
        self._patience.failed(problem)
        if problem.lost:
            if self._landed_anyway(advance):
                spans.landed()
        elif problem.smaller:
            self._steering.halve()
            spans.smaller()

    def _step_over(self, chunk: Chunk, lane: int) -> None:
        """Bad rows at the end of a chunk have no row to be committed with: the checkpoint moves alone."""
        while self._position.pos < chunk.end:
            advance = self._advance(chunk, len(chunk.lines))
            try:
                self._database.stage(lane, [])
                self._committed(advance, self._database.merge(lane, advance), 0)
            except TryAgain as problem:
                self._patience.failed(problem)
                if problem.lost:
                    self._landed_anyway(advance)

    def _advance(self, chunk: Chunk, high: int) -> Advance:
        pos = chunk.pos(high)
        mark = Mark(self._chunks.first, digest(chunk.line_at(pos - 1)), chunk.place_at(pos - 1))
        return Advance(self._position, pos, mark.text(), sum(1 for row in self._uncounted if row <= pos))

    def _keep(self, rejects: list[Reject]) -> None:
        if not rejects:
            return
        self._uncounted += [reject.row for reject in rejects]
        self._rejects.keep(rejects, self._position.rejected + len(self._uncounted))

    def _committed(self, advance: Advance, merged: Merged, rows: int) -> None:
        self._position = replace(
            self._position,
            pos=advance.pos,
            mark=advance.mark,
            written=self._position.written + merged.written,
            rejected=self._position.rejected + advance.rejected,
        )
        self._passed(advance)
        if rows:
            self._steering.observe(rows, merged.seconds)
        self._returned.give(merged.returned)
        if self._politeness.duty < 1:
            time.sleep(self._steering.rest(merged.seconds, self._politeness.duty))

    def _landed_anyway(self, advance: Advance) -> bool:
        """After a lost connection: ask the checkpoint whether the commit had arrived."""
        found = self._patiently(lambda: self._database.position(self._identity.name))
        if found.epoch != self._position.epoch:
            raise LeaseLost(f"bulk write {self._identity.name!r} was taken over by another writer; this one ends")
        if found.pos != advance.pos:
            return False
        self._position = found
        self._passed(advance)
        return True

    def _passed(self, advance: Advance) -> None:
        self._uncounted = [row for row in self._uncounted if row > advance.pos]
        self._committed_chunks += 1
        self._patience.passed()
        self._watcher.moved(
            self._position.pos, self._total, written=self._position.written, rejected=self._position.rejected
        )

    def _patiently(self, call: Callable[[], T]) -> T:
        while True:
            try:
                return call()
            except TryAgain as problem:
                self._patience.failed(problem)
