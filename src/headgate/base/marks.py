"""What a job worker is running, written where it outlives the process: so that a death is charged to the right job.

A small file per worker, mapped into its memory. Writing to it costs no system call, and the kernel keeps the page when
the process is killed. Whoever learns of the death on the same machine reads it.
"""

from __future__ import annotations

import contextlib
import mmap
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

SIZE: Final = 64 * 1024
"""Bytes of a mark: room for the ids of the largest batch."""
_LENGTH: Final = struct.Struct("<I")


class Mark:
    """A worker's own mark.

    Args:
        folder: where the marks of all workers are; made if it is missing.
        worker: the worker's name.
    """

    def __init__(self, folder: Path, worker: str) -> None:
        for each in (folder.parent, folder):  # a mode is not for the parents that mkdir makes
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = path_of(folder, worker)
        with self._path.open("w+b") as file:
            # Written, not only lengthened: a full disk must be met here, not at a later store to the page (SIGBUS).
            file.write(bytes(SIZE))
            file.flush()
            self._map = mmap.mmap(file.fileno(), SIZE)

    def running(self, jobs: Sequence[str]) -> None:
        """These begin now. Nothing is running while the mark is being written, so a torn one says that."""
        packed = msgspec.msgpack.encode(jobs)[: SIZE - _LENGTH.size]
        _LENGTH.pack_into(self._map, 0, 0)
        self._map[_LENGTH.size : _LENGTH.size + len(packed)] = packed
        _LENGTH.pack_into(self._map, 0, len(packed))

    def idle(self) -> None:
        """What ran has ended."""
        _LENGTH.pack_into(self._map, 0, 0)

    def close(self) -> None:
        """The worker ends in good order."""
        self._map.close()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()


def read(folder: Path, worker: str) -> list[str] | None:
    """What a dead worker was running; None if it left no mark that can be read."""
    try:
        raw = path_of(folder, worker).read_bytes()
        (length,) = _LENGTH.unpack_from(raw)
        return msgspec.msgpack.decode(raw[_LENGTH.size : _LENGTH.size + length], type=list[str]) if length else []
    except (OSError, struct.error, msgspec.MsgspecError):
        return None


def forget(folder: Path, worker: str) -> None:
    """Its death has been dealt with."""
    with contextlib.suppress(OSError):
        path_of(folder, worker).unlink()


def path_of(folder: Path, worker: str) -> Path:
    """A worker's name as the name of a file."""
    return folder / quote(worker, safe="")
