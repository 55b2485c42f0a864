"""The parts of a bulk write that decide without a database."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from headgate.bulk import BadRow, Politeness, Reject, Stuck, WrongTarget
from headgate.bulk.failures import TryAgain
from headgate.bulk.files import CsvFile, JsonLines
from headgate.bulk.patience import Patience
from headgate.bulk.phrases import fill
from headgate.bulk.progress import Rate
from headgate.bulk.rejects import InFile, InList
from headgate.bulk.spans import Spans
from headgate.bulk.steer import Steering


def simulate(seconds_per_row: float, fixed: float = 0.002, rounds: int = 60, **politeness: Any) -> list[float]:
    """Chunks against a database whose transactions last `fixed + rows * seconds_per_row`."""
    steering = Steering(Politeness(**politeness))
    lasted = []
    for _ in range(rounds):
        seconds = fixed + steering.rows * seconds_per_row
        lasted.append(seconds)
        steering.observe(steering.rows, seconds)
    return lasted


@pytest.mark.parametrize("seconds_per_row", [1e-5, 1e-4, 1e-3, 1e-2])
def test_the_chunk_settles_at_the_target(seconds_per_row: float) -> None:
    lasted = simulate(seconds_per_row)
    assert all(0.04 < seconds < 0.06 for seconds in lasted[-10:])


def test_a_chunk_stays_within_its_bounds() -> None:
    assert simulate(1e-9, most=5_000)[-1] == pytest.approx(0.002 + 5_000 * 1e-9)
    assert simulate(10.0)[-1] == pytest.approx(10.002)  # one row at least


def test_a_short_chunk_says_nothing_of_growth() -> None:
    steering = Steering(Politeness(first=1_000))
    steering.observe(10, 0.001)
    assert steering.rows == 1_000
    steering.observe(10, 1.0)
    assert steering.rows == 500


def test_a_bad_politeness_is_told() -> None:
    for wrong in ({"duty": 0}, {"duty": 1.1}, {"first": 10, "most": 5}, {"least": 0}):
        with pytest.raises(ValueError, match=r"duty|first"):
            Politeness(**wrong)


def bisect(bad: set[int], length: int, hint: bool) -> tuple[list[int], list[int], int]:
    """Play a chunk against a database that refuses a span with a bad row in it."""
    spans = Spans(length)
    committed: list[int] = []
    refused: list[int] = []
    tries = 0
    while (span := spans.current()) is not None:
        tries += 1
        low, high = span
        wrong = [row for row in range(low, high) if row in bad]
        if not wrong:
            committed += range(low, high)
            spans.landed()
            continue
        found = spans.failed(wrong[0] - low if hint else None)
        if found is not None:
            refused.append(found)
            assert committed == [row for row in range(found) if row not in bad]
    return committed, refused, tries


@pytest.mark.parametrize("hint", [True, False])
def test_bisection_finds_exactly_the_bad_rows_in_order(hint: bool) -> None:
    chance = random.Random(3)
    for _ in range(200):
        length = chance.randrange(1, 60)
        bad = {row for row in range(length) if chance.random() < chance.choice([0, 0.05, 0.5, 1])}
        committed, refused, _ = bisect(bad, length, hint)
        assert committed == [row for row in range(length) if row not in bad]
        assert refused == sorted(bad)


def test_bisection_of_one_bad_row_is_short() -> None:
    assert bisect({7_777}, 10_000, hint=False)[2] <= 30
    assert bisect({7_777}, 10_000, hint=True)[2] <= 4


def test_patience_waits_longer_each_time_and_ends() -> None:
    waits: list[float] = []
    patience = Patience(tries=6, first=0.1, most=1.0, sleep=waits.append, jitter=lambda: 1.0)
    for _ in range(3):
        patience.failed(TryAgain("locked"))
    patience.passed()
    for _ in range(5):
        patience.failed(TryAgain("locked"))
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.1, 0.2, 0.4, 0.8, 1.0])
    with pytest.raises(Stuck, match="6 times, last with: the door is shut"):
        patience.failed(TryAgain("the door is shut"))


def test_places_of_expressions() -> None:
    def quoted(name: str) -> str:
        return f'"{name}"'

    assert fill("{old} + {new}", "n", "t", "s", quoted) == '(t."n" + s."n")'
    assert (
        fill("coalesce({old.a}, {new.b}) || '{{}}%'", "n", "t", "s", quoted) == '(coalesce(t."a", s."b") || \'{}%%\')'
    )
    for wrong in ("{x}", "{", "{0}", "{old!r}", "{new:>5}", "{old.a.b}"):
        with pytest.raises(WrongTarget, match="cannot be filled"):
            fill(wrong, "n", "t", "s", quoted)


def rejects(*rows: int) -> list[Reject]:
    return [Reject(row, "c", "why", {"c": object}) for row in rows]


def test_rejects_have_a_limit() -> None:
    kept: list[Reject] = []
    sink = InList(kept, 2)
    sink.keep(rejects(5, 2), 2)
    assert [reject.row for reject in kept] == [2, 5]
    with pytest.raises(BadRow, match="more than max_rejects=2"):
        sink.keep(rejects(7), 3)


def test_a_rejects_file_is_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "rejects.jsonl"
    sink = InFile(str(path), 100)
    sink.resume(0)
    sink.keep(rejects(2, 5, 9), 3)
    with path.open("ab") as file:
        file.write(b'{"row": 3, "colu')  # the machine stopped here
    sink.resume(5)
    assert [line.split(b",")[0] for line in path.read_bytes().splitlines()] == [b'{"row":2', b'{"row":5']


def read_all(source: CsvFile | JsonLines) -> list[tuple[Any, Any]]:
    try:
        return [(source.place(), row) for row in source.rows()]
    finally:
        source.close()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'a,b\n1,x\n2,"two\nlines"\n\n3,ü\n'),
        ("a.tsv", "a\tb\n1\tx\n2\ty\n"),
        ("a.jsonl", '{"a":1,"b":"ü"}\n\n{"a":2,"b":"y"}\n{"a":3,"b":null}'),
    ],
)
def test_a_file_goes_on_at_any_place(tmp_path: Path, name: str, content: str) -> None:
    from headgate.bulk.files import open_file

    path = tmp_path / name
    path.write_text(content, encoding="utf-8-sig" if name.endswith("csv") else "utf-8")
    whole = read_all(open_file(str(path)))
    for number, (place, row) in enumerate(whole):
        for where in (place, None):
            source = open_file(str(path))
            source.skip(number, where)
            assert read_all(source)[0][1] == row


@pytest.mark.parametrize(("name", "content"), [("a.csv", ""), ("a.jsonl", "[1]\n"), ("a.xls", "x")])
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, name: str, content: str) -> None:
    from headgate.bulk.files import open_file

    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(WrongTarget):
        open_file(str(path))
    with pytest.raises(WrongTarget, match="cannot be read"):
        open_file(str(tmp_path / "missing.csv"))


def test_the_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate()
    for second in range(30):
        rate.add(float(second), 100 * min(second, 10) + 1_000 * max(0, second - 10))
    told = rate.tell(20_000, 40_000)
    assert told == {"rows_per_second": 1_000, "seconds_left": 20.0}
