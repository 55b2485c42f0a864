"""Every statement of an engine: timed, tagged with the handler that runs it, the slow and the repeated ones told."""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from headgate.base.jobcontext import WORK

_KEPT: Final = 50
_SHOWN: Final = 300
_BEGAN: Final = "headgate_began"
_RUNS: Final = "headgate_runs"
_UNSAFE: Final = re.compile(r"[^\w /<>.:-]")


@dataclass
class Finding:
    """A slow or a repeated statement of one handler."""

    handler: str
    statement: str
    times: int = 0
    worst: float = 0.0
    """Seconds of the slowest run, or the most runs while one connection was held."""


class Statements:
    """The tally of one engine.

    Args:
        slow: seconds from which a statement is told.
        repeated: runs of one statement while a connection is held (which a request's session does) from which it is
            told as an N+1 pattern.
    """

    def __init__(self, slow: float, repeated: int) -> None:
        self._slow = slow
        self._repeated = repeated
        self._lock = threading.Lock()
        self._slow_ones: OrderedDict[tuple[str, str], Finding] = OrderedDict()
        self._repeats: OrderedDict[tuple[str, str], Finding] = OrderedDict()
        self.count = 0
        self.seconds = 0.0

    def ran(self, statement: str, seconds: float, runs: dict[str, int]) -> None:
        """A statement has run; `runs` counts those since its connection was taken from the pool."""
        handler = WORK.get()
        with self._lock:
            self.count += 1
            self.seconds += seconds
            if seconds >= self._slow:
                self._note(self._slow_ones, handler or "-", statement, seconds)
            runs[statement] = times = runs.get(statement, 0) + 1
            if handler is not None and times >= self._repeated:
                self._note(self._repeats, handler, statement, times, again=times == self._repeated)

    def _note(
        self,
        findings: OrderedDict[tuple[str, str], Finding],
        handler: str,
        statement: str,
        worst: float,
        again: bool = True,
    ) -> None:
        key = (handler, statement)
        finding = findings.pop(key, None) or Finding(handler, " ".join(statement.split())[:_SHOWN])
        finding.times += again
        finding.worst = max(finding.worst, worst)
        findings[key] = finding
        while len(findings) > _KEPT:
            findings.popitem(last=False)

    def tell(self) -> dict[str, Any]:
        """For `headgate status`: counts, then the worst findings first."""
        with self._lock:
            slow = sorted(self._slow_ones.values(), key=lambda each: -each.worst)
            repeats = sorted(self._repeats.values(), key=lambda each: -each.worst)
            return {
                "statements": self.count,
                "statement_seconds": round(self.seconds, 3),
                "slow": [
                    {"handler": f.handler, "statement": f.statement, "times": f.times, "seconds": round(f.worst, 3)}
                    for f in slow
                ],
                "repeated": [
                    {"handler": f.handler, "statement": f.statement, "times": f.times, "in_one": int(f.worst)}
                    for f in repeats
                ],
            }


def watch_statements(engine: sa.Engine, *, slow: float = 0.5, repeated: int = 10, tag: bool = True) -> Statements:
    """Begin to tally an engine's statements.

    Args:
        engine: any SQLAlchemy engine; `headgate.bulk.pool` does this for its own.
        slow, repeated: see `Statements`.
        tag: add the handler's name to each statement as a comment.
    """
    statements = Statements(slow, repeated)

    def before(
        connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool
    ) -> tuple[str, Any]:
        connection.info.setdefault(_BEGAN, []).append((time.perf_counter(), statement))
        handler = WORK.get()
        if tag and handler is not None:
            statement = f"{statement} /* {_UNSAFE.sub('', handler)} */"
        return statement, parameters

    def after(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool) -> None:
        began, plain = connection.info[_BEGAN].pop()
        statements.ran(plain, time.perf_counter() - began, connection.info.setdefault(_RUNS, {}))

    def failed(context: Any) -> None:
        if context.connection is not None:
            context.connection.info.pop(_BEGAN, None)

    def taken(connection: Any, record: Any, proxy: Any) -> None:
        record.info.pop(_RUNS, None)

    sa.event.listen(engine, "checkout", taken)
    sa.event.listen(engine, "before_cursor_execute", before, retval=True)
    sa.event.listen(engine, "after_cursor_execute", after)
    sa.event.listen(engine, "handle_error", failed)
    return statements
