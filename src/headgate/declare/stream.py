"""Streams of user code: append events that sockets, browsers and programs follow, now or later."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

from headgate.base.errors import StreamConflict, StreamEnded, Unavailable
from headgate.base.model import START, Batch, Event, NewEvent
from headgate.base.streams import MESSAGE, TOLD, Outcome, Producer, Retention, StreamSpec, Write, Written
from headgate.declare import binding


class Stream:
    """A stream by its name; the first append makes it.

    Args:
        name: such as "imports/7"; names under `jobs/` belong to jobs.
        kept: events, bytes and seconds that are kept, where the settings `stream_*` are not to hold. Said once:
            when the stream is made.
        producer: who appends, if appends may be repeated: each has a number, and one that is known is not
            appended again, also after a restart.
        epoch: of the producer; what still comes of an older one is refused. Default: the moment at which this
            object was made, in milliseconds, so that the newest process wins.
    """

    def __init__(
        self, name: str, kept: Retention | None = None, *, producer: str | None = None, epoch: int | None = None
    ) -> None:
        self.name = name
        self._spec = StreamSpec(retention=kept or Retention())
        self._producer = producer
        self._epoch = time.time_ns() // 1_000_000 if epoch is None else epoch
        self._seq = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Stream {self.name}>"

    def append(self, data: Any, *, kind: str = MESSAGE, end: bool = False, seq: int | None = None) -> str:
        """Append one event; returns its offset. It is durable then.

        Args:
            data: what msgpack can carry.
            kind: followers see it as the event's name; `message` shows the bare data over HTTP.
            end: it is the last one.
            seq: the number of this append in the producer's epoch, counted from 0; default: counted here. Give it
                when the source can tell it (a line number), so that a replay repeats the same numbers.

        Raises:
            StreamEnded: the stream has ended.
            ValueError: `kind` is one of Headgate's own, `gone` or `truncated`.
            StreamConflict: a newer epoch of the producer has begun, or an append before this one is missing.
            Unavailable: the engine does not answer; with a producer the append may safely be repeated.
        """
        return self.extend([data], kind=kind, end=end, seq=seq)

    def extend(self, items: Iterable[Any], *, kind: str = MESSAGE, end: bool = False, seq: int | None = None) -> str:
        """Append several events, all or none; returns the offset of the last. See `append`."""
        if kind in TOLD:
            raise ValueError(f"the kind {kind!r} is for what readers are told of a stream; name yours otherwise")
        events = [NewEvent(kind, item) for item in items]
        return shown(self._write(events, end, seq).last)

    def close(self) -> None:
        """End the stream without a further event. Ending it twice does no harm."""
        self._engine().write(self.name, Write(close=True, spec=self._spec))

    def read(self, from_: int | str = START, most: int = 1000) -> Batch:
        """Events after an offset, at most so many.

        Raises:
            UnknownStream, BadOffset, Unavailable.
        """
        return self._engine().read(self.name, offset_of(from_), most)

    def follow(self, from_: int | str = START, *, timeout: float | None = None) -> Iterator[Event]:
        """Every event after an offset as they come, up to the last; `timeout` seconds for the next one.

        Raises:
            UnknownStream, TimeoutError.
        """
        return self._engine().follow(self.name, offset_of(from_), timeout=timeout)

    def delete(self) -> None:
        """Forget the stream; followers are told. Raises `UnknownStream`."""
        self._engine().delete(self.name)

    def url(self, ttl: float | None = None, *, write: bool = False) -> str:
        """Path and query of the stream for whoever gets them: to read it, or to write to it too.

        Args:
            ttl: seconds that it is good for; default the setting `result_ttl`.

        Raises:
            NotHosted: this process knows no secret to sign with.
        """
        return binding.current().stream_url(self.name, ttl, write=write)

    def _write(self, events: list[NewEvent], end: bool, seq: int | None) -> Written:
        if self._producer is None:
            return self._told(self._engine().write(self.name, Write(events=events, close=end, spec=self._spec)))
        with self._lock:  # a producer's appends arrive in their order, or are refused
            number = self._seq if seq is None else seq
            producer = Producer(self._producer, self._epoch, number)
            write = Write(events=events, close=end, producer=producer, spec=self._spec)
            try:
                written = self._told(self._engine().write(self.name, write))
            except Unavailable:
                if seq is None:
                    # Nobody knows whether it was appended: the next append must not pass for it, nor leave a gap.
                    self._epoch, self._seq = self._epoch + 1, 0
                raise
            self._seq = number + 1
            return written

    def _told(self, written: Written) -> Written:
        match written.outcome:
            case Outcome.APPENDED | Outcome.DUPLICATE:
                return written
            case Outcome.ENDED:
                raise StreamEnded(f"stream {self.name} has ended; nothing can be appended to it")
            case Outcome.STALE:
                raise StreamConflict(
                    f"producer {self._producer} of stream {self.name} has begun epoch {written.epoch} elsewhere: this "
                    "process must not append any more"
                )
            case Outcome.GAP | Outcome.BAD_START:
                raise StreamConflict(
                    f"producer {self._producer} of stream {self.name} is expected to append number "
                    f"{written.seq + 1 if written.outcome is Outcome.GAP else 0} next: one before this is missing"
                )
        raise StreamConflict(f"stream {self.name} refused the append: {written.outcome}")

    @staticmethod
    def _engine() -> binding.BlockingEngine:
        return binding.current().engine


def shown(offset: int) -> str:
    """An offset as clients see it: opaque, and sorted as text."""
    return f"{offset:016d}"


def offset_of(given: int | str) -> int:
    """An offset that was given as a number or as text; `-1` is the start.

    Raises:
        ValueError: it is neither.
    """
    try:
        return max(0, int(given))
    except ValueError:
        raise ValueError(f"{given!r} is no offset of a stream; pass on what an event carried as `offset`") from None
