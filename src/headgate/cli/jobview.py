"""Jobs as an operator reads them: a list, and the card of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from headgate.base.model import JobRecord, JobState
from headgate.cli.console import ago, size
from headgate.declare.arguments import PICKLED

LONGEST: Final = 2_000
"""Characters of one value that are shown."""
_COLOURS: Final = {
    JobState.SCHEDULED: "blue",
    JobState.QUEUED: "cyan",
    JobState.RUNNING: "yellow",
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "red",
    JobState.CANCELLED: "magenta",
}


def listing(records: Sequence[JobRecord], now: float) -> Table:
    """One line per job."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column, least in (("id", 32), ("state", 9), ("function", 10), ("queue", 5), ("tries", 5), ("age", 4)):
        table.add_column(column, min_width=least, overflow="fold")
    table.add_column("took", min_width=4)
    table.add_column("what", overflow="fold")
    for record in records:
        table.add_row(
            record.id,
            _state(record),
            Text(record.spec.function),
            Text(record.spec.queue),
            f"{record.tries}/{record.spec.retries + 1}",
            ago(now - record.enqueued_at),
            ago(_took(record, now)),
            _what(record),
        )
    return table


def at_work(records: Sequence[JobRecord], now: float) -> Table:
    """The running jobs, each with how far it is."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("running", "function", "worker", "for", "progress", ""):
        table.add_column(column, no_wrap=True, overflow="ellipsis")
    for record in records:
        share = _share(record.progress)
        table.add_row(
            record.id,
            Text(record.spec.function),
            Text(record.worker or ""),
            ago(_took(record, now)),
            "" if share is None else ProgressBar(total=1.0, completed=share, width=20),
            Text(_progress(record.progress) if isinstance(record.progress, dict) else ""),
        )
    return table


def dead_letters(records: Sequence[JobRecord], now: float) -> Table:
    """The latest jobs that failed for good, each with its reason in a line."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("failed", "function", "ago", "reason"):
        table.add_column(column, no_wrap=True, overflow="ellipsis")
    for record in records:
        ended = None if record.finished_at is None else now - record.finished_at
        table.add_row(record.id, Text(record.spec.function), ago(ended), _what(record))
    return table


def _share(progress: Any) -> float | None:
    done, total = (progress.get("done"), progress.get("total")) if isinstance(progress, dict) else (None, None)
    if isinstance(done, int | float) and isinstance(total, int | float) and total > 0:
        return min(1.0, max(0.0, done / total))
    return None


def card(record: JobRecord, now: float) -> RenderableType:
    """All that is known of one job."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in _facts(record, now):
        grid.add_row(name, Text(value))
    head = Text.assemble((record.id, "bold"), "  ", (record.spec.function, "bold"), "  ", _state(record))
    parts: list[RenderableType] = [head, Padding(grid, (0, 0, 0, 2), expand=False)]
    if record.failure is not None and record.failure.traceback:
        parts.append(Padding(Text(record.failure.traceback.rstrip(), style="dim"), (1, 0, 0, 2), expand=False))
    return Group(*parts)


def _facts(record: JobRecord, now: float) -> list[tuple[str, str]]:
    spec = record.spec
    facts = [
        ("queue", spec.queue + (f", priority {spec.priority}" if spec.priority else "")),
        ("arguments", _json(spec.arguments)),
        ("enqueued", f"{ago(now - record.enqueued_at)} ago"),
        ("tries", f"{record.tries} of {spec.retries + 1}"),
    ]
    took = _took(record, now)
    optional = [
        ("worker", record.worker),
        ("took", None if took is None else ago(took)),
        ("used", _used(record)),
        ("tags", ", ".join(spec.tags)),
        ("key", f"{spec.key} (at most {spec.limit} at once)" if spec.key else None),
        ("progress", None if record.progress is None else _text(record.progress)),
        ("cancelling", "asked for" if record.cancel_requested and not record.state.terminal else None),
        ("result", None if record.result is None else _json(record.result)),
        ("failure", None if record.failure is None else f"{record.failure.type}: {record.failure.message}"),
    ]
    return facts + [(name, value) for name, value in optional if value]


def _state(record: JobRecord) -> Text:
    return Text(record.state.value, style=_COLOURS[record.state])


def _took(record: JobRecord, now: float) -> float | None:
    if record.started_at is None:
        return None
    return max(0.0, (record.finished_at or now) - record.started_at)


def _used(record: JobRecord) -> str | None:
    if record.cpu is None:
        return None
    return f"{record.cpu:.2f} s CPU" + (f", peak memory {size(record.peak_rss)}" if record.peak_rss else "")


def _what(record: JobRecord) -> Text:
    if record.failure is not None and record.state is JobState.FAILED:
        return Text(f"{record.failure.type}: {record.failure.message}".splitlines()[0], style="red")
    if record.state is JobState.RUNNING and isinstance(record.progress, dict):
        return Text(_progress(record.progress))
    return Text("")


def _progress(progress: dict[str, Any]) -> str:
    done, total = progress.get("done"), progress.get("total")
    if isinstance(done, int | float) and isinstance(total, int | float) and total:
        return f"{done:g}/{total:g} ({100 * done / total:.0f} %)"
    return _text(progress)


def _json(packed: bytes) -> str:
    try:
        return _text(msgspec.msgpack.decode(packed))
    except msgspec.DecodeError:
        return f"({len(packed)} bytes)"


def _text(value: Any) -> str:
    text = msgspec.json.encode(_shown(value), enc_hook=str).decode()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text):,} characters; --json has them all)"


def _shown(value: Any) -> Any:
    """Bytes in words: as JSON would have them they say nothing."""
    if isinstance(value, msgspec.msgpack.Ext):
        return (
            f"(pickled, {len(bytes(value.data)):,} bytes)"
            if value.code == PICKLED
            else f"({len(bytes(value.data)):,} bytes)"
        )
    if isinstance(value, bytes):
        return f"({len(value):,} bytes)"
    if isinstance(value, dict):
        return {key: _shown(each) for key, each in value.items()}
    return [_shown(each) for each in value] if isinstance(value, list | tuple) else value
