"""Who runs what, and who waits: the lanes' waiting rooms and the app workers' slots. Pure: time is given.

The board changes only by its calls and answers with the work to start. It knows app workers as `Seat`s (a lane,
a number of slots) and handlers' lanes from the learner. Work waits per lane in the order of its arrival, which
it keeps when it moves to the other lane; a lane's waiting room is bounded by count and by age.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from headgate.base.errors import Full
from headgate.gateway.learner import FAST, SLOW, Learner

LANES: Final = (FAST, SLOW)


class Work:
    """Something that needs a slot: a request, a handshake, a message. Subclassed by those who start it."""

    __slots__ = ("gone", "handler", "lane", "number", "seat", "since", "started")

    def __init__(self, handler: str) -> None:
        self.handler = handler
        self.lane = SLOW
        self.since = 0.0
        """When it came (monotonic seconds); kept through bounces."""
        self.started = 0.0
        self.number = 0
        self.seat: Seat | None = None
        """Where it runs, or None while it waits."""
        self.gone = False
        """It waits no more: expired, cancelled or started."""

    def __lt__(self, other: Work) -> bool:
        return (self.since, self.number) < (other.since, other.number)


class Seat:
    """One app worker as the board sees it."""

    __slots__ = ("draining", "lane", "name", "running", "slots")

    def __init__(self, name: str, lane: str, slots: int) -> None:
        self.name = name
        self.lane = lane
        self.slots = max(1, slots)
        self.running = 0
        self.draining = False

    @property
    def free(self) -> bool:
        return self.running < self.slots and not self.draining


@dataclass(frozen=True)
class Bounds:
    """One waiting room: how many may wait, and how long (seconds)."""

    length: int
    age: float


@dataclass(frozen=True)
class LaneState:
    """What `headgate status` shows of a lane."""

    waiting: int
    running: int
    slots: int
    workers: int
    oldest_wait: float


class _Room:
    """A lane's waiting work, oldest first. Work that has gone is skipped when it comes up."""

    __slots__ = ("_heap", "bounds", "count")

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.count = 0
        self._heap: list[Work] = []

    def push(self, work: Work) -> None:
        heapq.heappush(self._heap, work)
        self.count += 1

    def oldest(self) -> Work | None:
        heap = self._heap
        while heap and heap[0].gone:
            heapq.heappop(heap)
        return heap[0] if heap else None

    def pop(self) -> Work | None:
        work = self.oldest()
        if work is not None:
            heapq.heappop(self._heap)
            self.count -= 1
        return work

    def forget(self, work: Work) -> None:
        work.gone = True
        self.count -= 1

    def take_all(self) -> list[Work]:
        heap, self._heap, self.count = self._heap, [], 0
        return sorted(work for work in heap if not work.gone)


class Board:
    """The lanes of one gateway.

    Args:
        learner: says which lane a handler belongs to.
        bounds: lane → bounds of its waiting room.
        lanes: False puts everything into one lane.
    """

    def __init__(self, learner: Learner, bounds: dict[str, Bounds], *, lanes: bool = True) -> None:
        self._learner = learner
        self._lanes = lanes
        self._rooms = {lane: _Room(bounds[lane]) for lane in LANES}
        self._seats: dict[str, list[Seat]] = {FAST: [], SLOW: []}
        self._numbers = itertools.count(1)

    # app workers

    def sit(self, seat: Seat) -> list[Work]:
        """An app worker is there; returns waiting work that it starts now."""
        self._seats[self._own(seat.lane)].append(seat)
        return self._fill(seat)

    def resize(self, seat: Seat, slots: int) -> list[Work]:
        """An app worker has more slots, or fewer; returns waiting work that it starts now."""
        seat.slots = max(1, slots)
        return self._fill(seat)

    def drain(self, seat: Seat) -> None:
        """Give it nothing new; what it runs goes on."""
        seat.draining = True

    def leave(self, seat: Seat) -> None:
        """It is gone; its running work is the caller's to end."""
        seats = self._seats[self._own(seat.lane)]
        if seat in seats:
            seats.remove(seat)

    def has(self, lane: str) -> bool:
        """Whether a worker takes new work of this lane."""
        return any(not seat.draining for seat in self._seats[self._own(lane)])

    # work

    def lane_of(self, handler: str) -> str:
        return self._own(self._learner.lane(handler))

    def submit(self, work: Work, now: float) -> bool:
        """Take work in: True when it is to be started at once on `work.seat`, False when it waits.

        Raises:
            Full: the waiting room is full; `retry_after` is in seconds.
        """
        work.lane = self.lane_of(work.handler)
        work.since = now
        work.number = next(self._numbers)
        seat = self._free_seat(work.lane)
        if seat is not None:
            self._start(work, seat)
            return True
        room = self._rooms[work.lane]
        if room.count >= room.bounds.length:
            raise Full(
                f"{room.count} requests wait for the {work.lane} lane, which is its bound (queue_length): "
                "try again later, or raise workers or threads",
                retry_after=max(1.0, min(room.bounds.age, 5.0)),
            )
        room.push(work)
        return False

    def finish(self, work: Work) -> Work | None:
        """Work that ran is over; returns the waiting work that takes its slot."""
        seat = work.seat
        if seat is None:
            return None
        work.seat = None
        seat.running -= 1
        return self._next(seat)

    def bounce(self, work: Work, lane: str) -> list[Work]:
        """An app worker would not run it: it goes to `lane` with its age; returns work to start."""
        freed = work.seat
        started = []
        if freed is not None:
            freed.running -= 1
            work.seat = None
        work.gone = False
        work.lane = self._own(lane)
        seat = self._free_seat(work.lane)
        if seat is not None:
            self._start(work, seat)
            started.append(work)
        else:
            self._rooms[work.lane].push(work)
        if freed is not None:
            started += self._fill(freed)
        return started

    def cancel(self, work: Work) -> bool:
        """Give up waiting work; False when it does not wait (any more)."""
        if work.seat is not None or work.gone:
            return False
        self._rooms[work.lane].forget(work)
        return True

    def expired(self, now: float) -> list[Work]:
        """Work that has waited longer than its lane allows; it waits no more."""
        late = []
        for room in self._rooms.values():
            while (work := room.oldest()) is not None and now - work.since > room.bounds.age:
                room.pop()
                work.gone = True
                late.append(work)
        return late

    def relane(self) -> list[Work]:
        """A handler has changed lanes: waiting work of it moves; returns work to start."""
        waiting = sorted(itertools.chain.from_iterable(room.take_all() for room in self._rooms.values()))
        for work in waiting:
            work.lane = self.lane_of(work.handler)
            self._rooms[work.lane].push(work)
        started: list[Work] = []
        for seat in self._all_seats():
            started += self._fill(seat)
        return started

    def state(self, lane: str, now: float) -> LaneState:
        room, seats = self._rooms[lane], self._seats[lane]
        oldest = room.oldest()
        return LaneState(
            room.count,
            sum(seat.running for seat in seats),
            sum(seat.slots for seat in seats if not seat.draining),
            len(seats),
            now - oldest.since if oldest is not None else 0.0,
        )

    def _own(self, lane: str) -> str:
        return lane if self._lanes else FAST

    def _all_seats(self) -> Iterator[Seat]:
        for lane in LANES:
            yield from self._seats[lane]

    def _free_seat(self, lane: str) -> Seat | None:
        best: Seat | None = None
        for seat in self._seats[lane]:
            if seat.free and (best is None or seat.running * best.slots < best.running * seat.slots):
                best = seat
        return best

    def _start(self, work: Work, seat: Seat) -> None:
        seat.running += 1
        work.seat = seat
        work.gone = True  # from the waiting room: a cancel after its end must not count it out a second time

    def _next(self, seat: Seat) -> Work | None:
        if not seat.free:
            return None
        room = self._rooms[self._own(seat.lane)]
        if not room.count:
            return None
        work = room.pop()
        if work is not None:
            self._start(work, seat)
        return work

    def _fill(self, seat: Seat) -> list[Work]:
        started = []
        while (work := self._next(seat)) is not None:
            started.append(work)
        return started
