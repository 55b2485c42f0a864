"""The board: a process's stamps in shared memory, for whoever looks from outside without its interpreter lock.

One file per process, `PID.board`, of 64-bit integers: a head, and a row for each watched line (a loop, a hub, a
thread). Only the stamps are floats, which cost a loop least in each of its turns. The watched process writes; an
observer outside reads, and writes only the three cells that are its own.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from pathlib import Path
from typing import Final

from headgate.watch.native import close_file, getpid, nanoseconds, open_file, wall, write

MAGIC: Final = 0x48_47_57_41_54_43_48  # "HGWATCH"
VERSION: Final = 2
HEAD: Final = 64
ROW: Final = 20
ROWS: Final = 1200
"""A gateway has one; an app worker one for each thread. Rows that nobody writes cost disk, and no memory."""
CELLS: Final = HEAD + ROW * ROWS
BYTES: Final = CELLS * 8
SUFFIX: Final = ".board"

# The head's cells.
(
    H_MAGIC,
    H_VERSION,
    H_PID,
    H_BEAT,  # when the watchdog last turned; it cannot while somebody holds the interpreter lock
    H_TICK,  # how long after that it means to turn again
    H_WATCHDOG,  # the watchdog's thread, as the system numbers it
    H_ROWS,
    H_STARTED,  # wall clock, ns
    H_OBSERVER,  # written from outside: when an observer last looked
    H_SIGHT,  # written from outside: what it can see, see `SIGHTS`
    H_DUMPING,  # written from outside: since when it has been reading this process; 0 when it is not
    H_GIL_STALLS,
    H_BORN,  # when the process began, as the system counts it; 0 where it does not say
) = range(13)
H_NAME: Final = 16
NAME_CELLS: Final = 24

H_CAUSES: Final = 40
"""Two cells for each of `model.CAUSES`: incidents, and nanoseconds lost."""

# A row's cells.
(
    R_SINCE,  # a float: since when it has been busy, in seconds; 0 while it waits for something to do; -1: not yet
    R_TID,
    R_KIND,
    R_COUNT,
    R_STALLED,
    R_WORST,
    R_LIMIT,
    R_USED,
) = range(8)
R_NAME: Final = 8
ROW_NAME_CELLS: Final = 12

KINDS: Final = ("asyncio", "uvloop", "eventlet", "gevent", "thread")
SIGHTS: Final = ("", "py-spy", "refused", "missing", "broken")
"""What the observer can see: everything; nothing, the system refuses; nothing, py-spy is not there or fails."""


class Board:
    """A process's own board.

    Args:
        folder: where to put it; None keeps it in memory that nobody else sees.
        name: what the process is called in `headgate watch top`.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path | None, name: str, tick: int) -> None:
        self.path = None if folder is None else folder / f"{getpid()}{SUFFIX}"
        if self.path is None:
            self._map = mmap.mmap(-1, BYTES)
        else:
            self._map = _created(self.path)
        self.cells = memoryview(self._map).cast("q")
        self.stamps = memoryview(self._map).cast("d")
        """The same memory; only the rows' `R_SINCE` are to be used."""
        cells = self.cells
        cells[H_VERSION], cells[H_PID], cells[H_TICK] = VERSION, getpid(), tick
        cells[H_STARTED], cells[H_BORN] = int(wall() * 1e9), born(getpid())
        write_text(cells, H_NAME, NAME_CELLS, name)
        cells[H_MAGIC] = MAGIC

    def row(self) -> int | None:
        """The first cell of a free row, or None when all are taken."""
        cells = self.cells
        for number in range(ROWS):
            at = HEAD + number * ROW
            if not cells[at + R_USED]:
                cells[at : at + ROW] = memoryview(bytes(ROW * 8)).cast("q")
                cells[at + R_USED] = 1
                cells[H_ROWS] = max(cells[H_ROWS], number + 1)
                return at
        return None

    def remove(self) -> None:
        """Take the file away; the stamps go on into memory."""
        if self.path is not None:
            with contextlib.suppress(OSError):
                self.path.unlink()


class BoardView:
    """Another process's board.

    Raises:
        OSError, ValueError: it is not there, or is not a board of this version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._map, self.inode = _mapped(path)
        self.live = memoryview(self._map).cast("q")
        """The memory itself, for an observer, who writes too."""
        self._stamps = memoryview(self._map).cast("d")
        if self.live[H_MAGIC] != MAGIC or self.live[H_VERSION] != VERSION:
            raise ValueError(f"{path} is not a board that this version can read")
        self.pid: int = self.live[H_PID]
        self.name = read_text(self.live, H_NAME, NAME_CELLS)

    @property
    def cells(self) -> memoryview:
        """A copy of the cells as they are now, with `R_SINCE` in nanoseconds as all other times."""
        used = HEAD + ROW * min(self.live[H_ROWS], ROWS)
        copy = memoryview(bytearray(BYTES)).cast("q")  # whole: rows may be added before it is read
        copy[:used] = self.live[:used]
        for at in range(HEAD, used, ROW):
            copy[at + R_SINCE] = max(0, nanoseconds(self._stamps[at + R_SINCE]))
        return copy

    def rows(self) -> list[int]:
        """The first cells of the rows in use."""
        cells = self.live
        ats = range(HEAD, HEAD + ROW * min(cells[H_ROWS], ROWS), ROW)
        return [at for at in ats if cells[at + R_USED]]

    def alive(self) -> bool:
        """Whether the process is still there, and its number not another's by now."""
        before = self.live[H_BORN]
        return running(self.pid) and (not before or born(self.pid) in (0, before))

    def close(self) -> None:
        """Give the memory back."""
        self.live.release()
        self._stamps.release()
        self._map.close()


def row_name(cells: memoryview, at: int) -> str:
    """What a row's line is called."""
    return read_text(cells, at + R_NAME, ROW_NAME_CELLS)


def write_text(cells: memoryview, at: int, count: int, text: str) -> None:
    """Put a text into `count` cells, cut to their length."""
    data = text.encode("utf-8", "replace")[: count * 8].ljust(count * 8, b"\0")
    cells[at : at + count] = memoryview(data).cast("q")


def read_text(cells: memoryview, at: int, count: int) -> str:
    """The text that `write_text` put there."""
    return bytes(cells[at : at + count]).rstrip(b"\0").decode("utf-8", "replace")


def running(pid: int) -> bool:
    """Whether a process of this number is there and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        if os.path.isdir("/proc/self"):
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def born(pid: int) -> int:
    """When a process began, in the system's ticks since its start; 0 where it does not say."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return int(stat.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def _created(path: Path) -> mmap.mmap:
    """A new file in the place of one that is there: an observer may still have that one mapped."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = open_file(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | _CLOSED, 0o600)
    try:
        _allocate(descriptor)
        mapped = mmap.mmap(descriptor, BYTES)
        os.replace(new, path)
        return mapped
    except OSError:
        new.unlink(missing_ok=True)
        raise
    finally:
        close_file(descriptor)


def _allocate(descriptor: int) -> None:
    """Take all of its blocks now: a store into a hole, when the disk is full, ends the process (SIGBUS)."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, BYTES)
            return
        except OSError as exc:
            if exc.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
    left = BYTES
    while left:
        left -= write(descriptor, bytes(left))


def _mapped(path: Path) -> tuple[mmap.mmap, int]:
    """Another process's board, and the number of its file."""
    descriptor = open_file(path, os.O_RDWR | _CLOSED)
    try:
        facts = os.fstat(descriptor)
        if facts.st_size < BYTES:
            raise ValueError(f"{path} is not a board that this version can read")
        return mmap.mmap(descriptor, BYTES), facts.st_ino
    finally:
        close_file(descriptor)


_CLOSED: Final = getattr(os, "O_CLOEXEC", 0)
