"""Sources: whatever a caller has rows in, as an iterator of rows and a way to pick their values."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter, itemgetter
from typing import Any, Protocol, cast

import msgspec

from headgate.bulk.errors import BulkError, SourceChanged, WrongTarget
from headgate.bulk.failures import BadValue

Pick = Callable[[Any], Sequence[Any]]


class Source(Protocol):
    """Rows in an order that a second reading repeats."""

    names: tuple[str, ...]
    """The names that rows give; empty when they are bare tuples."""
    total: int | None
    """How many rows there are, if that is known without reading them."""
    textual: bool
    """Values are text in the database's own spelling."""

    def rows(self) -> Iterator[Any]: ...

    def skip(self, count: int, place: Any) -> None:
        """Make row `count` (from 0) the next one; `place` is what `place()` told when that row was yielded."""

    def place(self) -> Any:
        """Where the row last yielded began, for sources that can seek."""

    def picker(self, names: Sequence[str], exact: bool) -> Pick:
        """How a row's values are picked in the order of `names`; `exact`: a row with other names is refused."""

    def close(self) -> None: ...


class Plain:
    """An iterable of dicts, tuples, dataclasses, msgspec structs or mapped instances. It cannot seek: it is skipped."""

    textual = False

    def __init__(self, rows: Iterable[Any]) -> None:
        self.total = len(rows) if isinstance(rows, Sequence) else None
        self._rows = iter(rows)
        head = list(itertools.islice(self._rows, 1))
        self._first = head[0] if head else None
        self.names = row_names(self._first)
        self._stream = itertools.chain(head, self._rows)

    def rows(self) -> Iterator[Any]:
        return self._stream

    def skip(self, count: int, place: Any) -> None:
        skipped = sum(1 for _ in itertools.islice(self._stream, count))
        if skipped < count:
            raise_short(count, skipped)

    def place(self) -> Any:
        return None

    def picker(self, names: Sequence[str], exact: bool) -> Pick:
        return picker_for(self._first, names, exact)

    def close(self) -> None:
        close = getattr(self._rows, "close", None)
        if close is not None:
            close()


def raise_short(wanted: int, found: int) -> None:
    """The source ended within what its checkpoint says is done."""
    raise SourceChanged(
        f"the checkpoint stands after row {wanted} and the source has only {found}; a resumed write must be given "
        "the same rows in the same order, or another name"
    )


def row_names(row: Any) -> tuple[str, ...]:
    """The names that a row gives its values; none for bare tuples and lists."""
    if row is None or (isinstance(row, tuple | list) and not hasattr(row, "_fields")):
        return ()
    if isinstance(row, Mapping):
        return tuple(str(name) for name in row)
    if isinstance(row, tuple):
        return tuple(row._fields)  # type: ignore[attr-defined]  # a named tuple, or a SQLAlchemy row
    if dataclasses.is_dataclass(row):
        return tuple(field.name for field in dataclasses.fields(row))
    if isinstance(row, msgspec.Struct):
        return row.__struct_fields__
    if hasattr(row, "_sa_instance_state"):
        return tuple(name for name in vars(row) if not name.startswith("_sa_"))
    raise WrongTarget(
        f"rows of type {type(row).__name__} are not understood; give dicts, tuples, dataclasses, msgspec structs, "
        "mapped instances, a file, or a frame"
    )


def picker_for(row: Any, names: Sequence[str], exact: bool) -> Pick:
    """A function that takes the values of `names` out of a row like `row`."""
    if row is None or (isinstance(row, tuple | list) and not isinstance(row, Mapping)):
        return _positional(row, names)
    if isinstance(row, Mapping):
        return _by_key(names, exact)
    return _by_attribute(names)


def _positional(row: Any, names: Sequence[str]) -> Pick:
    fields = row_names(row)
    if not fields or fields == tuple(names):
        return lambda given: cast(Sequence[Any], given)
    order = [fields.index(name) for name in names]
    return lambda given: [given[index] for index in order]


def _by_key(names: Sequence[str], exact: bool) -> Pick:
    width = len(names)
    get = _tupled(itemgetter(*names), width)

    def pick(row: Any) -> Sequence[Any]:
        try:
            values = get(row)
        except KeyError as error:
            raise BadValue("the row does not give this column, and the first row did", str(error.args[0])) from None
        except TypeError as error:
            raise BadValue(f"the row is a {type(row).__name__}: {error}") from None
        if exact and len(row) != width:
            odd = ", ".join(sorted(str(name) for name in row if name not in names))
            raise BadValue(f"the row gives columns that the first row did not: {odd}")
        return values

    return pick


def _by_attribute(names: Sequence[str]) -> Pick:
    get = _tupled(attrgetter(*names), len(names))

    def pick(row: Any) -> Sequence[Any]:
        try:
            return get(row)
        except AttributeError as error:
            raise BadValue(str(error)) from None

    return pick


def _tupled(get: Callable[[Any], Any], width: int) -> Callable[[Any], Sequence[Any]]:
    """`itemgetter` of a single name gives the bare value; a row is a sequence even then."""
    if width == 1:
        return lambda row: (get(row),)
    return cast(Callable[[Any], Sequence[Any]], get)


def from_async(rows: AsyncIterable[Any], batch: int = 1000) -> Iterator[Any]:
    """An async iterable, driven by a loop of its own in this thread, `batch` rows at a time.

    Raises:
        BulkError: the calling thread is running a loop already.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise BulkError(
            "a bulk call blocks, and this thread runs an event loop: await bulk.run_async(bulk.insert, ...) instead"
        )
    return _driven(rows, batch)


def _driven(rows: AsyncIterable[Any], batch: int) -> Iterator[Any]:
    stream = aiter(rows)

    async def some() -> list[Any]:
        taken = []
        async for row in stream:
            taken.append(row)
            if len(taken) == batch:
                break
        return taken

    with asyncio.Runner() as runner:
        while taken := runner.run(some()):
            yield from taken


def open_source(rows: Any) -> Source:
    """The source for what a caller gave.

    Raises:
        WrongTarget: it is nothing that has rows.
    """
    from headgate.bulk import files, frames

    if isinstance(rows, str | os.PathLike):
        return files.open_file(os.fspath(rows))
    frame = frames.open_frame(rows)
    if frame is not None:
        return frame
    if hasattr(rows, "bulk_source"):
        return cast(Source, rows.bulk_source())
    if isinstance(rows, AsyncIterable):
        return Plain(from_async(rows))
    if isinstance(rows, Mapping | bytes):
        raise WrongTarget(f"a {type(rows).__name__} is one row or none; give an iterable of rows")
    if isinstance(rows, Iterable):
        return Plain(rows)
    raise WrongTarget(f"a {type(rows).__name__} has no rows; give an iterable, a file's path, or a frame")
