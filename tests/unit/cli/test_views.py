"""What the commands draw, from given facts."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console, RenderableType

from headgate.base.model import Failure, JobRecord, JobSpec, JobState
from headgate.cli.console import ago, place, size
from headgate.cli.jobview import at_work, card, dead_letters, listing
from headgate.cli.overview import overview
from headgate.cli.startup import table
from headgate.cli.stop import under_way


def drawn(picture: RenderableType, width: int = 120) -> str:
    """A picture as text, runs of blanks made one."""
    console = Console(file=StringIO(), width=width, color_system=None)
    console.print(picture)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(" ".join(line.split()) for line in text.splitlines())


def process(role: str, lane: str | None = None, index: int = 0, **facts: Any) -> dict[str, Any]:
    place = f"{role}-{lane}-{index}" if lane else f"{role}-{index}"
    plain = {"generation": 1, "pid": 100, "state": "serving", "uptime": 61.0, "restarts": 0, "stats": {}}
    return {"place": place, "role": role, "lane": lane, "index": index, **plain, **facts}


STATUS: dict[str, Any] = {
    "version": "0.1.0",
    "pid": 99,
    "state": "running",
    "uptime": 3700.0,
    "generation": 2,
    "app": "shop:app",
    "addresses": ["http://127.0.0.1:8000"],
    "data": "/srv/d",
    "broker": "embedded",
    "queues": ["*"],
    "processes": [
        process("broker", stats={"clients": 4, "jobs": {"bulk": {"queued": 3, "failed": 2}}}),
        process(
            "gateway",
            stats={
                "connections": 300,
                "lanes": {"fast": {"waiting": 1, "running": 2, "oldest_wait": 0.5}},
                "handlers": [{"name": "GET /[x]", "lane": "slow", "p95": 0.2, "count": 9, "why": "p95 over 25 ms"}],
            },
        ),
        process(
            "gateway",
            index=1,
            stats={
                "connections": 1,
                "lanes": {"fast": {"waiting": 4, "running": 0, "oldest_wait": 0.25}, "slow": {"waiting": 0}},
                "handlers": [{"name": "GET /[x]", "lane": "fast", "p95": 0.002, "count": 1, "why": "new"}],
            },
        ),
        process("app", "fast", generation=2, cpu=90.0, rss=42_000_000),
        process("app", "fast", state="leaving"),
        process("jobs", stats={"job": "j1", "function": "shop:reprice", "running_for": 12.0}),
        process("jobs", index=1, restarts=3, stopped=True),
        process("jobs", index=2, stats={"job": None, "done": 7}),
    ],
}


def test_the_overview_shows_the_whole() -> None:
    text = drawn(overview(STATUS))
    for line in (
        "● Headgate 0.1.0 running for 62 min pid 99 · generation 2 · shop:app",
        "http://127.0.0.1:8000 data /srv/d",
        "gateway-0 100 serving 61 s – – 0 300 connections",
        "gateway-1 100 serving 61 s – – 0 1 connection",
        "app-fast-0 100 leaving 61 s – – 0",
        "app-fast-0 gen 2 100 serving 61 s 90 s 42 MB 0",
        "jobs-0 100 serving 61 s – – 0 shop:reprice for 12 s",
        "jobs-1 100 serving 61 s – – 3 stopped by a signal or a debugger",
        "jobs-2 100 serving 61 s – – 0 idle, 7 done",
        "broker-0 100 serving 61 s – – 0 4 clients",
    ):
        assert line in text.splitlines(), text


def test_in_a_narrow_window_only_the_last_column_gives_way() -> None:
    text = drawn(overview(STATUS), 72)
    assert "process pid state up cpu memory restarts doing" in text
    assert "app-fast-0 gen 2 100 serving 61 s 90 s 42 MB 0" in text


def test_lanes_of_all_gateways_are_added_up_and_times_are_not() -> None:
    text = drawn(overview(STATUS))
    assert "lane waiting running oldest wait" in text
    assert "fast 5 2 500 ms" in text
    assert "slow 0 – –" in text


def test_the_gateway_that_has_seen_most_of_a_handler_speaks() -> None:
    assert "GET /[x] slow 200 ms 9 p95 over 25 ms" in drawn(overview(STATUS))
    assert drawn(overview(STATUS)).count("GET /[x]") == 1


def test_queues_are_shown_with_every_state() -> None:
    text = drawn(overview(STATUS))
    assert "queue scheduled queued running succeeded failed cancelled" in text
    assert "bulk 0 3 0 0 2 0" in text


def test_a_starting_headgate_has_an_overview_too() -> None:
    text = drawn(overview({**STATUS, "state": "booting", "processes": [process("broker", state="booting")]}))
    assert "broker-0 100 booting" in text
    assert "lane" not in text
    assert "queue" not in text


def test_many_handlers_are_cut_with_a_word() -> None:
    handlers = [{"name": f"GET /{number}", "lane": "fast", "count": number} for number in range(30)]
    text = drawn(overview({**STATUS, "processes": [process("gateway", stats={"handlers": handlers})]}))
    assert "GET /29 fast – 29" in text
    assert "GET /9 " not in text
    assert "… and 10 more: headgate status --json" in text


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({}, "processes 1 broker · 2 gateways · 2 app workers (fast lane) · 3 job workers"),
        ({}, "queues all"),
        ({"queues": ["bulk", "mail"]}, "queues bulk, mail"),
        ({"processes": [process("gateway")]}, "queues none served here"),
        ({}, "broker embedded (SQLite, on disk)"),
        ({"broker": "redis://r"}, "broker redis://r"),
        ({"addresses": ["http://a:1", "unix:/b"]}, "listening unix:/b"),
        ({}, "● Headgate 0.1.0 serves (pid 99, started in 3700.0 s)"),
    ],
)
def test_the_start_up_table(change: dict[str, Any], line: str) -> None:
    assert line in drawn(table({**STATUS, **change})).splitlines()


def record(**facts: Any) -> JobRecord:
    spec = JobSpec(id="j" * 32, function="shop:reprice", arguments=msgspec.msgpack.encode([[1], {"a": "b"}]), retries=2)
    plain: dict[str, Any] = {"spec": spec, "state": JobState.QUEUED, "enqueued_at": 1000.0}
    return JobRecord(**{**plain, **facts})


FAILED = record(
    state=JobState.FAILED,
    tries=3,
    started_at=1001.0,
    finished_at=1003.5,
    worker="jobs-0.1-7",
    failure=Failure("ValueError", "no [such] table\nline 2", "Traceback …\nValueError: no [such] table"),
)


def test_jobs_are_listed_one_per_line() -> None:
    running = record(state=JobState.RUNNING, tries=1, started_at=1002.0, progress={"done": 30, "total": 120})
    text = drawn(listing([FAILED, running, record()], 1004.0), 140)
    assert f"{'j' * 32} failed shop:reprice default 3/3 4.0 s 2.5 s ValueError: no [such] table" in text
    assert f"{'j' * 32} running shop:reprice default 1/3 4.0 s 2.0 s 30/120 (25 %)" in text
    assert f"{'j' * 32} queued shop:reprice default 0/3 4.0 s –" in text


def test_ids_are_never_cut() -> None:
    assert "j" * 32 in drawn(listing([FAILED], 1004.0), 80)


def test_the_card_of_a_job() -> None:
    text = drawn(card(FAILED, 1004.0))
    for line in (
        f"{'j' * 32} shop:reprice failed",
        'arguments [[1],{"a":"b"}]',
        "tries 3 of 3",
        "worker jobs-0.1-7",
        "took 2.5 s",
        "failure ValueError: no [such] table",
        "ValueError: no [such] table",
    ):
        assert line in text.splitlines(), text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0.0312, "31 ms"), (4.25, "4.2 s"), (90, "90 s"), (600, "10 min"), (7300, "2 h"), (864_000, "10 d")],
)
def test_times(seconds: float | None, text: str) -> None:
    assert ago(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(12, "12 B"), (2048, "2.0 kB"), (38_400_000, "38 MB"), (2.5e9, "2.5 GB")])
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text


def test_status_adds_up_the_pools_of_all_processes() -> None:
    slow = {"handler": "GET /orders", "statement": "SELECT 1 FROM orders", "times": 2, "seconds": 0.7}
    again = {"handler": "GET /orders", "statement": "SELECT name FROM customer WHERE id = 1", "times": 1, "in_one": 40}
    pool = {"size": 5, "in_use": 2, "timeouts": 1, "wait_p99_ms": 4.0, "statements": 10, "slow": [slow], "repeated": []}
    status = {
        **STATUS,
        "processes": [
            process("app", "fast", stats={"pools": {"shop": pool}}),
            process(
                "jobs", stats={"pools": {"shop": {**pool, "slow": [{**slow, "seconds": 2.0}], "repeated": [again]}}}
            ),
        ],
    }
    text = drawn(overview(status), width=160)
    assert "shop 2 10 4 2 4 ms 20" in text
    assert "SELECT 1 FROM orders 4 slow: 2.0 s GET /orders" in text
    assert "SELECT name FROM customer WHERE id = 1 1 40 × in one: N+1? GET /orders" in text


def test_status_says_nothing_of_pools_when_there_are_none() -> None:
    assert "in use" not in drawn(overview(STATUS))


def test_stop_names_what_is_under_way() -> None:
    status = {
        "processes": [
            process("jobs", stats={"job": "01J", "function": "shop:reprice"}),
            process("jobs", index=1, stats={"done": 3}),
            process("app", "fast", stats={"busy": 1}),
            process("app", "slow", stats={"busy": 2}),
            process("gateway", stats={"busy": 9}),
        ]
    }
    assert under_way(status) == ["the job shop:reprice", "3 requests"]
    assert under_way({"processes": [process("jobs"), process("app", "fast", stats={"busy": 0})]}) == []


def test_the_live_view_of_jobs_shows_how_far_and_why_not() -> None:
    spec = JobSpec(id="0" * 32, function="shop:reprice", arguments=b"")
    running = JobRecord(
        spec=spec, state=JobState.RUNNING, worker="jobs-0", started_at=90.0, progress={"done": 3, "total": 12}
    )
    text = drawn(at_work([running, msgspec.structs.replace(running, progress={"note": "loading"})], now=100.0))
    assert "shop:reprice jobs-0 10 s" in text
    assert "3/12 (25 %)" in text
    assert "loading" in text
    failed = JobRecord(
        spec=spec, state=JobState.FAILED, finished_at=40.0, failure=Failure("ValueError", "no such table\nat all")
    )
    text = drawn(dead_letters([failed], now=100.0))
    assert "shop:reprice 60 s ValueError: no such table" in text
    assert "at all" not in text


def test_bytes_and_long_values_are_told_in_words() -> None:
    packed = msgspec.msgpack.encode([[b"x" * 5000, "y" * 9000], {}])
    record = JobRecord(spec=JobSpec(id="1", function="f", arguments=packed), state=JobState.QUEUED)
    text = drawn(card(record, now=1.0)).replace("\n", "")
    assert "(5,000 bytes)" in text.replace("(5,000bytes)", "(5,000 bytes)")
    assert "--json has them all" in text


def test_a_path_is_told_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert place(tmp_path / "data") == "data"
    long = place(f"/srv/{'x' * 200}/data")
    assert len(long) == 60
    assert long.startswith("/srv/x")
    assert long.endswith("x/data")
