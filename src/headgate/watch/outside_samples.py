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


class OutsideSamples:
    """Read by the process that they are of.

    Args:
        folder: the board's.
    """

    def __init__(self, folder: Path) -> None:
        self._path = str(folder / f"{getpid()}{SUFFIX}")
        self._offset = 0
        self.recent: deque[Seen] = deque(maxlen=64)

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
            data = os.pread(descriptor, 8 << 20, self._offset)
        except OSError:
            data = b""
        finally:
            close_file(descriptor)
        whole = data.rpartition(b"\n")[0]
        self._offset += len(whole) + 1 if whole else 0
        for line in whole.splitlines():
            try:
                self.recent.append(Seen.parse(line.decode("utf-8", "replace")))
            except (ValueError, KeyError, TypeError):
                continue


def _sample(seen: Seen, tid: int) -> Sample | None:
    foreign = seen.owner not in (0, tid)
    stack = seen.stacks.get(seen.owner if foreign else tid)
    if stack is None:
        return None
    at = (seen.begun + seen.done) // 2
    return Sample(at, stack, root=0, foreign=foreign, outside=True, holds=bool(seen.owner))
