"""Where refused rows go: an error, a list, or a JSON-lines file that a resumed write continues."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableSequence, Sequence
from typing import Any, Protocol

import msgspec

from headgate.bulk.errors import BadRow, WrongTarget
from headgate.bulk.model import Reject


class Rejects(Protocol):
    """Takes what was refused; `keep` is called before the commit that counts it."""

    def keep(self, rejects: Sequence[Reject], so_far: int) -> None: ...

    def resume(self, pos: int) -> None:
        """Forget rejects of rows after `pos`: they will be refused again."""


class Raising:
    """No rejects were asked for: the first refused row ends the write."""

    def keep(self, rejects: Sequence[Reject], so_far: int) -> None:
        first = rejects[0]
        where = f", column {first.column}" if first.column else ""
        raise BadRow(
            f"row {first.row}{where}: {first.reason}. The rows before it are committed; to let those after it land "
            "too and to collect such rows, give rejects= a list or the path of a file",
            row=first.row,
            column=first.column,
            reason=first.reason,
        )

    def resume(self, pos: int) -> None:
        """It keeps nothing."""


class _Limited:
    def __init__(self, limit: int) -> None:
        self._limit = limit

    def _check(self, rejects: Sequence[Reject], so_far: int) -> None:
        if so_far <= self._limit:
            return
        last = rejects[-1]
        raise BadRow(
            f"{so_far} rows were refused, more than max_rejects={self._limit}; the last is row {last.row}: "
            f"{last.reason}. What was committed stays",
            row=last.row,
            column=last.column,
            reason=last.reason,
        )


class InList(_Limited):
    """Rejects in a list of the caller's; after a resume it holds those of this try."""

    def __init__(self, into: MutableSequence[Reject], limit: int) -> None:
        super().__init__(limit)
        self._into = into

    def keep(self, rejects: Sequence[Reject], so_far: int) -> None:
        # Within a chunk the encoder's rejects come first and the database's after them.
        self._into[:] = sorted([*self._into, *rejects], key=lambda reject: reject.row)
        self._check(rejects, so_far)

    def resume(self, pos: int) -> None:
        self._into[:] = [reject for reject in self._into if reject.row <= pos]


class InFile(_Limited):
    """Rejects as JSON lines, on disk before the commit that counts them, so that none is lost or told twice."""

    def __init__(self, path: str, limit: int) -> None:
        super().__init__(limit)
        self._path = path

    def keep(self, rejects: Sequence[Reject], so_far: int) -> None:
        with open(self._path, "ab") as file:
            file.writelines(_line(reject) for reject in rejects)
            file.flush()
            os.fsync(file.fileno())
        self._check(rejects, so_far)

    def resume(self, pos: int) -> None:
        if not os.path.exists(self._path):
            return
        kept = []
        with open(self._path, "rb") as file:
            for line in file:
                try:
                    if msgspec.json.decode(line)["row"] <= pos:
                        kept.append(line)
                except (msgspec.DecodeError, KeyError, TypeError):
                    continue  # a line that a crash cut short: its row is refused again
        fresh = f"{self._path}.new"
        with open(fresh, "wb") as file:
            file.writelines(kept)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self._path)


def _line(reject: Reject) -> bytes:
    record = {"row": reject.row, "column": reject.column, "reason": reject.reason, "values": reject.values}
    return msgspec.json.encode(record, enc_hook=repr) + b"\n"


def as_rejects(rejects: Any, limit: int) -> Rejects:
    """The sink for what a caller gave as `rejects=`.

    Raises:
        WrongTarget: neither a list nor a path.
    """
    if rejects is None:
        return Raising()
    if isinstance(rejects, str | os.PathLike):
        return InFile(os.fspath(rejects), limit)
    if isinstance(rejects, MutableSequence):
        return InList(rejects, limit)
    raise WrongTarget(f"rejects={rejects!r} is neither a list nor the path of a file")


def values_of(names: Sequence[str], row: Any) -> Mapping[str, Any]:
    """A refused row's values for its report, as far as it has any."""
    if isinstance(row, Mapping):
        return dict(row)
    if isinstance(row, Sequence) and not isinstance(row, str | bytes):
        return dict(zip(names, row, strict=False))
    return {name: getattr(row, name, None) for name in names}
