"""The books of one user: which clicks await what, and what a received reply does to them. Pure.

Every click ends in one of: answered (and, for a job, its result) · error · lost. An answer is
`duplicated` when its click has already been answered, `out_of_order` when a later click of the same
connection was answered before it, `misdelivered` when it bears another user's id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final, Literal

from headgate.simulate.scenario import IDS_PER_USER, Action, Reply, User

Expectation = Literal["answer", "result", "auto"]
ENDINGS: Final = frozenset({"result", "failed"})
REMEMBERED: Final = 1000


@dataclass(slots=True)
class Pending:
    """A click whose answer or result is awaited; times are seconds since the start of the run."""

    id: int
    name: str
    intended: float
    sent: float
    connection: int
    expects: Expectation
    disturbed: bool = False
    """The generator itself stalled or cut this user meanwhile: counted, but not timed."""
    excused: bool = False
    """Its answer was on its way when the generator cut the connection: not lost by the server."""
    job: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reply came to: a `verdict` to count, and the click that it ended or advanced."""

    verdict: str
    click: Pending | None = None
    out_of_order: bool = False
    others: tuple[Pending, ...] = ()
    """Further clicks that the end of the same job ended."""


@dataclass(slots=True)
class End:
    """How a job ended. Each click that named it may be told so by itself: `more` such ends are no duplicates."""

    kind: str
    more: int


class Ledger:
    """One user's clicks under way.

    Args:
        user: the scenario's handle; `following` is kept up to date for resumes.
        ordered: whether answers must come in the order of the clicks.
    """

    def __init__(self, user: User, ordered: bool = True) -> None:
        self._user = user
        self._ordered = ordered
        self._next = user.number * IDS_PER_USER
        self._newest = (0, -1)
        self._answers: dict[int, Pending] = {}
        self._results: dict[str, list[Pending]] = {}
        self._early: dict[str, str] = {}
        self._ended: dict[str, End] = {}

    @property
    def outstanding(self) -> int:
        """Clicks that still await something."""
        return len(self._answers) + sum(map(len, self._results.values()))

    def awaited(self, connection: int) -> int:
        """Clicks worth waiting for: not those whose answer a fault of the run cut off with an earlier connection."""
        cut_off = sum(click.excused and click.connection < connection for click in self._answers.values())
        return self.outstanding - cut_off

    def new_id(self) -> int:
        click_id = self._next
        self._next += 1
        return click_id

    def sent(self, click_id: int, action: Action, intended: float, now: float, connection: int) -> None:
        """A click went out."""
        if action.expects is None:
            return
        self._answers[click_id] = Pending(click_id, action.name, intended, now, connection, action.expects)

    def read(self, reply: Reply) -> Outcome:
        """What a reply means for the clicks under way."""
        if reply.kind in ("answer", "error"):
            return self._answer(reply)
        if reply.kind == "lost":
            return self._lost(reply)
        return self._event(reply)

    def _answer(self, reply: Reply) -> Outcome:
        if reply.id is None:
            return Outcome("unexpected")
        click = self._answers.pop(reply.id, None)
        if click is None:
            if reply.id // IDS_PER_USER != self._user.number:
                return Outcome("misdelivered")
            return Outcome("duplicated" if reply.id < self._next else "unexpected")
        if reply.kind == "error":
            # A server that is full says so at once: a refusal may overtake the answers before it.
            return Outcome("error", click)
        disorder = self._ordered and self._overtaken(click)
        follows = reply.job is not None or click.expects == "result"
        if follows and click.expects != "answer":
            return self._accepted(reply, click, disorder)
        return Outcome("answered", click, disorder)

    def _lost(self, reply: Reply) -> Outcome:
        click = self._answers.pop(reply.id, None) if reply.id is not None else None
        return Outcome("unexpected" if click is None else "lost", click)

    def _overtaken(self, click: Pending) -> bool:
        """Whether a later click of the same connection was answered before this one."""
        connection, newest = self._newest
        if connection == click.connection and click.id < newest:
            return True
        self._newest = (click.connection, click.id)
        return False

    def _accepted(self, reply: Reply, click: Pending, disorder: bool) -> Outcome:
        click.job = reply.job
        stream = _stream_of(reply)
        early = self._early.pop(stream, None)
        if early is not None:
            # The job ended before its answer arrived; the caller times both now.
            self._remember(stream, End(early, 0))
            return Outcome(f"answered+{early}", click, disorder)
        if (ended := self._ended.get(stream)) is not None:
            ended.more += 1
            return Outcome(f"answered+{ended.kind}", click, disorder)
        self._results.setdefault(stream, []).append(click)
        self._user.following.setdefault(stream, reply.offset)
        return Outcome("answered", click, disorder)

    def _event(self, reply: Reply) -> Outcome:
        stream = _stream_of(reply)
        if not self._advances(stream, reply.offset):
            return Outcome("repeated_event")
        if reply.kind == "truncated":
            return Outcome("truncated")
        return self._end(stream, reply.kind) if reply.kind in ENDINGS else Outcome("event")

    def _end(self, stream: str, kind: str) -> Outcome:
        self._user.following.pop(stream, None)
        clicks = self._results.pop(stream, None)
        if clicks is not None:
            self._remember(stream, End(kind, len(clicks) - 1))
            return Outcome(kind, clicks[0], others=tuple(clicks[1:]))
        ended = self._ended.get(stream)
        if ended is not None and ended.more:
            ended.more -= 1
            return Outcome("event")
        if ended is not None or stream in self._early:
            return Outcome("duplicated")
        self._early[stream] = kind
        return Outcome("early")

    def _remember(self, stream: str, end: End) -> None:
        """Keep the newest ended streams: a second end that comes much later is merely unexpected."""
        self._ended[stream] = end
        if len(self._ended) > REMEMBERED:
            del self._ended[next(iter(self._ended))]

    def _advances(self, stream: str, offset: str | int | None) -> bool:
        """Whether the offset is past the last one seen; strings of one length compare like numbers."""
        if offset is None:
            return True
        last = self._user.following.get(stream)
        if last is not None and _rank(offset) <= _rank(last):
            return False
        self._user.following[stream] = offset
        return True

    def disturb(self, now: float, patience: Callable[[str], float]) -> None:
        """The generator stalls or cuts this user on purpose: what waits now is not timed.

        An answer may be lost with the connection, unless it has been missing for longer than the
        `patience` with clicks of its name, in seconds: then it was lost before. The result of a job
        has no such excuse, for a resume must bring it.
        """
        for click in self._answers.values():
            click.disturbed = True
            click.excused = click.excused or now - click.sent <= patience(click.name)
        for click in chain.from_iterable(self._results.values()):
            click.disturbed = True

    def abandon(self) -> Iterator[tuple[Pending, str]]:
        """End the books: every click that still waits, with why it counts as lost."""
        for click in self._answers.values():
            yield click, "answer"
        for click in chain.from_iterable(self._results.values()):
            yield click, "result"


def _stream_of(reply: Reply) -> str:
    """The stream that a reply speaks of: named, a job's, or (with neither) the click's own."""
    if reply.stream is not None:
        return reply.stream
    return f"jobs/{reply.job}" if reply.job is not None else f"clicks/{reply.id}"


def _rank(offset: str | int) -> tuple[int, str]:
    """An order for offsets that holds for numbers, digits, and opaque text of growing length."""
    text = str(offset)
    return (len(text), text) if text.isdigit() else (0, text)
