"""What waits for one client that reads slowly: bounded, and choosy about what it gives up. Pure.

Three kinds of frames (design.md §5.3): `KEEP` (answers, sends, terminal records) is never dropped; of `LATEST`
only the newest per key is kept (progress); `DROP` (channel messages) gives way, oldest first, within its share.
When what must be kept does not fit, or waits too long, the connection has to be closed: `Overflow`.
"""

from __future__ import annotations

from collections import deque
from typing import Final

KEEP: Final = 0
LATEST: Final = 1
DROP: Final = 2


class Overflow(Exception):
    """The client is too slow for what it must get; the text goes into the close reason."""


class TooOld(Overflow):
    """What it must get has waited too long, however little it is."""


class _Item:
    __slots__ = ("at", "credit", "frame", "key", "kind")

    def __init__(self, frame: bytes, kind: int, key: str | None, credit: int, at: float) -> None:
        self.frame: bytes | None = frame
        self.kind = kind
        self.key = key
        self.credit = credit
        self.at = at


class Outbox:
    """The queue of one connection.

    Args:
        limit: bytes that may wait in all; channel messages may take half of it.
        age: seconds that the oldest kept frame may wait.
    """

    __slots__ = ("_age", "_dead", "_drop_bytes", "_droppable", "_items", "_latest", "_limit", "bytes", "dropped")

    def __init__(self, limit: int, age: float) -> None:
        self._limit = limit
        self._age = age
        self._items: deque[_Item] = deque()
        self._droppable: deque[_Item] = deque()
        self._latest: dict[str, _Item] = {}
        self._drop_bytes = 0
        self._dead = 0
        self.bytes = 0
        self.dropped = 0
        """Channel messages given up since the connection began."""

    def __len__(self) -> int:
        return len(self._items) - self._dead

    def push(self, frame: bytes, kind: int, now: float, key: str | None = None, credit: int = 0) -> None:
        """Queue a frame; `credit` is given back by `pop` when it goes out.

        Raises:
            Overflow: it must be kept and does not fit.
        """
        if kind == DROP:
            self._push_droppable(frame, now)
            return
        if kind == LATEST and key is not None and (old := self._latest.get(key)) is not None:
            self._kill(old)
        if not credit:  # what has credit is bounded by its window
            self._make_room(len(frame))
        item = _Item(frame, kind, key, credit, now)
        if kind == LATEST and key is not None:
            self._latest[key] = item
        self._append(item)

    def pop(self) -> tuple[bytes, int] | None:
        """The next frame to send and its credit."""
        while self._items:
            item = self._items.popleft()
            if item.frame is None:
                self._dead -= 1
                continue
            frame = item.frame
            self._leave(item)
            return frame, item.credit
        return None

    def check(self, now: float) -> None:
        """Raises `Overflow` when the oldest frame that must be kept has waited too long."""
        for item in self._items:
            if item.frame is not None and item.kind == KEEP:
                if now - item.at > self._age:
                    raise TooOld(f"unread for {self._age:g} s")
                return

    def clear(self) -> None:
        self._items.clear()
        self._droppable.clear()
        self._latest.clear()
        self.bytes = self._drop_bytes = self._dead = 0

    def _push_droppable(self, frame: bytes, now: float) -> None:
        share = self._limit // 2
        if len(frame) > share:
            self.dropped += 1
            return
        while self._drop_bytes + len(frame) > share or (self.bytes + len(frame) > self._limit and self._drop_bytes):
            self._drop_oldest()
        if self.bytes + len(frame) > self._limit:
            self.dropped += 1
            return
        item = _Item(frame, DROP, None, 0, now)
        self._droppable.append(item)
        self._drop_bytes += len(frame)
        self._append(item)

    def _make_room(self, needed: int) -> None:
        while self.bytes + needed > self._limit and self._drop_bytes:
            self._drop_oldest()
        if self.bytes + needed > self._limit and self.bytes:
            raise Overflow(f"{self.bytes} bytes unread")

    def _drop_oldest(self) -> None:
        while (item := self._droppable.popleft()).frame is None:
            pass
        self.dropped += 1
        self._kill(item)

    def _append(self, item: _Item) -> None:
        self._items.append(item)
        self.bytes += len(item.frame or b"")

    def _kill(self, item: _Item) -> None:
        """Take an item out in place: it stays in the queue as a hole until holes are the greater part."""
        self._leave(item)
        self._dead += 1
        if self._dead > 64 and self._dead > len(self._items) // 2:
            self._items = deque(one for one in self._items if one.frame is not None)
            self._dead = 0

    def _leave(self, item: _Item) -> None:
        size = len(item.frame or b"")
        self.bytes -= size
        item.frame = None
        if item.kind == DROP:
            self._drop_bytes -= size
            while self._droppable and self._droppable[0].frame is None:
                self._droppable.popleft()
        elif item.kind == LATEST and item.key is not None and self._latest.get(item.key) is item:
            del self._latest[item.key]
