"""What an observer outside has seen of this process, as it wrote it beside the board."""

from __future__ import annotations

import json
import os
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from headgate.watch.model import Sample
from headgate.watch.native import close_file, getpid, open_file
from headgate.watch.stacks import Frame, Stack

SUFFIX: Final = ".seen"
KEPT: Final = 64
"""Looks that a process remembers, and that its file keeps at most when it is begun anew."""
LARGEST: Final = 1 << 20
"""Bytes after which the file is begun anew, with the last looks in half of them."""


@dataclass(frozen=True)
class Seen:
    """One look from outside."""

    begun: int
    done: int
    owner: int
    """The thread that held the interpreter lock, as the system numbers it; 0 when none did."""
    stacks: dict[int, Stack]

    @classmethod
    def parse(cls, line: str) -> Seen:
        """Raises ValueError, KeyError or TypeError when the line is none."""
        data: dict[str, Any] = json.loads(line)
        stacks = {
            int(tid): tuple(Frame(str(file), int(number), str(name)) for file, number, name in frames)
            for tid, frames in data["stacks"].items()
        }
        return cls(int(data["begun"]), int(data["done"]), int(data["owner"]), stacks)

    def to_json(self) -> str:
        return json.dumps({"begun": self.begun, "done": self.done, "owner": self.owner, "stacks": self.stacks})


class Looks:
    """Written by an observer, for the process that they are of: what is in them is for its user alone.

    Args:
        path: of the file; one that is there, of an earlier process, is replaced.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: deque[bytes] = deque(maxlen=KEPT)
        self._size = 0

    def add(self, seen: Seen) -> None:
        """Add one; the oldest go when they are too many.

        Raises:
            OSError: the file cannot be written; the next one begins it anew.
        """
        line = (seen.to_json() + "\n").encode("utf-8", "replace")
        self._lines.append(line)
        size, self._size = self._size, 0
        if size and size + len(line) <= LARGEST:
            _write(self._path, os.O_APPEND, line)
            self._size = size + len(line)
        else:
            self._size = self._begin_anew()

    def _begin_anew(self) -> int:
        while len(self._lines) > 1 and sum(map(len, self._lines)) > LARGEST // 2:
            self._lines.popleft()
        data, new = b"".join(self._lines), self._path.with_name(f"{self._path.name}.new")
        _write(new, os.O_CREAT | os.O_TRUNC, data)
        os.replace(new, self._path)
        return len(data)


def _write(path: Path, flags: int, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | flags | getattr(os, "O_CLOEXEC", 0), 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


class OutsideSamples:
    """Read by the process that they are of.

    Args:
        folder: the board's.
    """

    def __init__(self, folder: Path) -> None:
        self._path = str(folder / f"{getpid()}{SUFFIX}")
        self._inode = self._offset = 0
        self.recent: deque[Seen] = deque(maxlen=KEPT)

    def of(self, tid: int, begin: int, end: int) -> list[Sample]:
        """What was seen of a thread, or of the one that held the interpreter lock before it, in a stretch."""
        self._read()
        looks = [seen for seen in self.recent if seen.begun >= begin and seen.begun <= end]
        sure = [seen for seen in looks if seen.done <= end]
        return [sample for seen in sure or looks if (sample := _sample(seen, tid)) is not None]

    def _read(self) -> None:
        try:
            descriptor = open_file(self._path, os.O_RDONLY)
        except OSError:
            return
        try:
            facts = os.fstat(descriptor)
            if facts.st_ino != self._inode or facts.st_size < self._offset:
                self._inode, self._offset = facts.st_ino, 0
            data = os.pread(descriptor, 8 << 20, self._offset)
        except OSError:
            data = b""
        finally:
            close_file(descriptor)
        whole = data.rpartition(b"\n")[0]
        self._offset += len(whole) + 1 if whole else 0
        for line in whole.splitlines():
            try:
                seen = Seen.parse(line.decode("utf-8", "replace"))
            except (ValueError, KeyError, TypeError):
                continue
            if not self.recent or seen.begun > self.recent[-1].begun:  # a file begun anew repeats some
                self.recent.append(seen)


def _sample(seen: Seen, tid: int) -> Sample | None:
    foreign = seen.owner not in (0, tid)
    stack = seen.stacks.get(seen.owner if foreign else tid)
    if stack is None:
        return None
    at = (seen.begun + seen.done) // 2
    return Sample(at, stack, root=0, foreign=foreign, outside=True, holds=bool(seen.owner))
