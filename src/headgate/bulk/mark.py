"""The part of a checkpoint that recognises the source: two digests and a place."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from headgate.bulk.engine import Line
from headgate.bulk.errors import SourceChanged


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the rows before the checkpoint looked like, and where the source goes on."""

    first: str = ""
    last: str = ""
    place: Any = None

    def text(self) -> str:
        return msgspec.json.encode(self).decode()


def read_mark(text: str) -> Mark:
    return msgspec.json.decode(text, type=Mark) if text else Mark()


def digest(line: Line | None) -> str:
    """A short digest of an encoded row; a row that was refused has none."""
    return "" if line is None else hashlib.blake2b(repr(line).encode(errors="replace"), digest_size=8).hexdigest()


def check_same(wanted: str, line: Line | None, row: int, name: str) -> None:
    """The row read again is the row of the earlier try.

    Raises:
        SourceChanged
    """
    if digest(line) != wanted:
        raise SourceChanged(
            f"row {row} of the source is not the row that bulk write {name!r} had there in its earlier try; "
            "give the same rows in the same order to go on, or another name= to begin anew"
        )
