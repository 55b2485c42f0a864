"""The watch of a process without loops: what is told, kept and shown of the incidents that come."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import weakref
from pathlib import Path
from typing import Any

import pytest

from headgate.watch import board, hooks, journal, spans
from headgate.watch.board import Board, BoardView, row_name
from headgate.watch.line import Line
from headgate.watch.metrics import lines
from headgate.watch.model import BLOCKING, IMPORT, Incident
from headgate.watch.native import SECOND, clock
from headgate.watch.process import Options, Watch
from tests.support.wait import until


def incident(cause: str = BLOCKING, ended: int | None = None) -> Incident:
    """One that has just ended."""
    return Incident(
        at=1.0,
        pid=1,
        process="p",
        kind="asyncio",
        line="asyncio",
        cause=cause,
        seconds=0.5,
        file="/srv/a.py",
        number=3,
        function="f",
        code="",
        call="time.sleep",
        fingerprint="x",
        ended=clock() if ended is None else ended,
    )


def told(watch: Watch, *incidents: Incident) -> list[bool]:
    return [watch._tell(each, None) for each in incidents]


def test_what_blocks_while_the_process_starts_is_kept_and_marked_and_not_told() -> None:
    said: list[str] = []
    heard: list[Incident] = []
    watch = Watch(Options(log=said.append, hear=heard.append))
    watch.starting()
    assert told(watch, incident()) == [False]
    before = clock()
    watch.serves()
    assert told(watch, incident(ended=before)) == [False], "told late, but of the start"
    assert told(watch, incident(), incident(IMPORT)) == [True, False]
    assert [each.startup for each in heard] == [True, True, False, True]
    assert len(said) == 1
    assert watch.facts()["incidents"] == 1


def test_the_journal_keeps_all_and_begins_anew_when_it_is_large(tmp_path: Path) -> None:
    kept = journal.Journal(tmp_path)
    for _ in range(3):
        kept.add(incident())
    (tmp_path / journal.NAME).write_bytes((tmp_path / journal.NAME).read_bytes() + b'{"half a li')
    assert len(list(journal.read(tmp_path))) == 3
    with (tmp_path / journal.NAME).open("ab") as file:
        file.truncate(journal.LARGEST + 1)
    kept.add(incident())
    assert (tmp_path / journal.OLDER).exists()
    journal.Journal(tmp_path / "gone").add(incident())  # a folder that is not there costs the incident, not the service


def test_a_board_is_read_from_outside(tmp_path: Path) -> None:
    made = Board(tmp_path, 'wéb "1"', 20_000_000)
    line = Line(made, "eventlet", "hub", SECOND // 10)
    line.busy()
    line.count(1_500_000_000)
    view = BoardView(tmp_path / f"{view_pid(tmp_path)}{board.SUFFIX}")
    try:
        assert (view.name, [row_name(view.cells, at) for at in view.rows()]) == ('wéb "1"', ["hub"])
        shown = "\n".join(lines(tmp_path))
        assert 'headgate_watch_worst_seconds{process="wéb \\"1\\"",' in shown
        assert "1.500000" in shown
        line.leave()
        assert view.rows() == []
    finally:
        view.close()
        made.remove()


def test_a_board_has_its_disk_from_the_start_and_stands_in_memory_when_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Board(tmp_path, "p", 20_000_000)
    assert made.path is not None
    assert made.path.stat().st_blocks * 512 >= board.BYTES
    made.remove()

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    watch = Watch(Options(folder=tmp_path))
    try:
        assert watch.line("asyncio") is not None
        assert list(tmp_path.iterdir()) == []
    finally:
        watch.stop()


def test_a_board_without_fallocate_has_its_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    made = Board(tmp_path, "p", 20_000_000)
    assert made.path is not None
    assert made.path.stat().st_blocks * 512 >= board.BYTES
    made.remove()


def test_a_new_board_of_the_same_process_leaves_the_old_ones_mapping_whole(tmp_path: Path) -> None:
    Board(tmp_path, "before", 20_000_000)
    path = tmp_path / f"{os.getpid()}{board.SUFFIX}"
    before = BoardView(path)
    made = Board(tmp_path, "after", 20_000_000)
    after = BoardView(path)
    try:
        assert (before.name, len(before.rows()), after.name) == ("before", 0, "after")
        assert before.inode != after.inode
        assert [each.name for each in tmp_path.iterdir()] == [path.name]
    finally:
        before.close()
        after.close()
        made.remove()


def view_pid(folder: Path) -> str:
    (path,) = folder.glob(f"*{board.SUFFIX}")
    return path.stem


def descriptors() -> set[str]:
    """The accounts of threads that are open here."""
    found = set()
    for each in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"/proc/self/fd/{each}"))
    return {each for each in found if "/task/" in each}


def ended_watch() -> weakref.ref[Watch]:
    """One that has watched a line until its watchdog had turned."""
    watch = Watch(Options(log=None))
    line = watch.line("asyncio")
    assert line is not None
    line.thread.queued()
    watch.settle(clock() + 30 * SECOND)
    watch.stop()
    return weakref.ref(watch)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="the system does not list descriptors")
def test_a_watch_that_has_ended_holds_no_descriptor_and_is_held_by_nobody() -> None:
    before = descriptors()
    watch = ended_watch()
    assert descriptors() <= before
    until(lambda: gc.collect() >= 0 and watch() is None, "the end of the watchdog's thread", 30)


def test_a_module_is_hooked_when_it_is_imported_and_its_loader_given_back(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "hooked_here.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    seen: list[int] = []
    finder = hooks.AfterImport({"hooked_here": lambda module: seen.append(module.value)})
    finder.install()
    try:
        import hooked_here  # type: ignore[import-not-found]
    finally:
        finder.remove()
    assert seen == [1]
    assert type(hooked_here.__loader__).__name__ == "SourceFileLoader"
    assert hooked_here.__spec__.loader is hooked_here.__loader__


def test_the_span_of_a_callback_gets_an_event() -> None:
    class Span:
        events: list[tuple[str, dict[str, Any]]] = []  # noqa: RUF012 - one test's

        def add_event(self, name: str, attributes: dict[str, Any]) -> None:
            self.events.append((name, attributes))

    span = Span()
    spans.note(incident(), span)
    spans.note(incident(), None)
    ((name, attributes),) = span.events
    assert name == "headgate.stall"
    assert attributes["code.file.path"] == "/srv/a.py"
    assert attributes["headgate.stall.seconds"] == 0.5
