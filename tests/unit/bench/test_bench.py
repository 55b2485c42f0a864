"""The parts of the benchmarks that decide: reading wrk, ranking, rendering."""

from __future__ import annotations

import importlib
import json
import xml.etree.ElementTree as ET
from dataclasses import asdict
from pathlib import Path

import pytest

from bench import render, run
from bench.http.run import WrkSaid, parse
from bench.jobs_quick.run import percentile
from bench.result import Plot, Ratio, Result, Table, median_row, milliseconds, read
from bench.sockets.hosts import HOSTS, NODE
from bench.sockets.run import echo_text

WRK = """Running 8s test @ http://127.0.0.1:1/order/42
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     6.01ms    4.21ms  60.12ms   88.10%
  Latency Distribution
     50%    5.04ms
     75%    7.00ms
     90%  950.00us
     99%    1.20s
  52815 requests in 8.00s, 15.11MB read
Requests/sec:   6601.95
Transfer/sec:      1.89MB
"""


def result() -> Result:
    return Result(
        name="sample",
        title="A sample",
        question="Is it drawn?",
        setup=["one line"],
        tables=[Table("Medians", ["server", "rate"], [["Headgate", "2"], ["peer <1>", "1"]])],
        ratios=[Ratio("twice", "2 ×", "≥ 1.2 ×", True), Ratio("half", "0.5 ×", "≥ 1", False)],
        plots=[Plot("Rates & times", "1/s", {"Headgate": 2000.0, "peer <1>": 1.0}, "more", True)],
        versions={"headgate": "0.1.0"},
        date="2026-11-23 12:00 UTC",
        machine={"processor": "a chip, 2 cores"},
    )


def test_wrk_is_read_in_its_units() -> None:
    assert parse(WRK) == {"rate": 6601.95, "p50": 0.00504, "p99": 1.2}


@pytest.mark.parametrize("trouble", ["  Non-2xx or 3xx responses: 4\n", "  Socket errors: connect 0, read 3\n", None])
def test_a_wrk_run_with_errors_is_no_measurement(trouble: str | None) -> None:
    with pytest.raises(WrkSaid):
        parse("" if trouble is None else WRK + trouble)


@pytest.mark.parametrize("name", run.names())
def test_every_benchmark_can_be_loaded_and_says_what_it_is(name: str) -> None:
    module = importlib.import_module(f"bench.{name}.run")
    assert callable(module.measure)
    assert module.__doc__


def test_there_are_the_benchmarks_that_the_design_names() -> None:
    assert {"story", "http", "sockets", "slow_client", "jobs", "jobs_quick", "reload", "bulk"} <= set(run.names())


def test_percentile_and_median() -> None:
    assert [percentile([5.0, 1.0, 3.0, 2.0, 4.0], percent) for percent in (0, 50, 99, 100)] == [1.0, 3.0, 5.0, 5.0]
    assert median_row([{"a": 1.0}, {"a": 9.0}, {"a": 2.0}]) == {"a": 2.0}


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0007341, "0.73"), (0.0176, "17.6"), (2.945, "2,945"), (float("inf"), "never"), (float("nan"), "never")],
)
def test_milliseconds_are_shown_with_three_figures(seconds: float, shown: str) -> None:
    assert milliseconds(seconds) == shown


def test_a_result_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "sample.json"
    path.write_text(json.dumps(asdict(result())))
    assert read(path) == result()


def test_the_page_has_tables_verdicts_and_plots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "RESULTS", tmp_path)
    monkeypatch.setattr(render, "PAGE", tmp_path / "benchmarks.md")
    monkeypatch.setattr(render, "IMAGES", tmp_path / "benchmarks")
    (tmp_path / "sample.json").write_text(json.dumps(asdict(result())))
    text = render.page().read_text()
    assert "| Headgate | 2 |" in text
    assert "| half | 0.5 × | ≥ 1 | **no** |" in text
    glance = text[text.index("## At a glance") : text.index("## A sample")]
    assert "1 of 2 bars were met." in glance
    assert glance.index("[A sample](#a-sample) | half") < glance.index("[A sample](#a-sample) | twice")
    assert "![Rates & times](benchmarks/sample-1.svg)" in text
    assert "a chip, 2 cores" in text
    assert (tmp_path / "benchmarks" / "sample-1.svg").exists()


def test_bars_are_valid_svg_and_stay_inside() -> None:
    for plot in (result().plots[0], Plot("Linear", "ms", {"Headgate": 0.0, "peer": 4.0})):
        root = ET.fromstring(render.svg(plot))
        bars = [float(bar.attrib["width"]) for bar in root.findall("{*}rect")[1:]]
        assert len(bars) == 2
        assert all(2.0 <= bar <= render.BAR for bar in bars)


def test_peers_of_node_are_pinned_without_download_addresses() -> None:
    lock = json.loads((NODE.home / "package-lock.json").read_text())
    packages = {path: entry for path, entry in lock["packages"].items() if path}
    assert packages
    assert all("integrity" in entry and "resolved" not in entry for entry in packages.values())


def test_echo_texts_are_what_each_protocol_sends_back() -> None:
    assert {echo_text(spoken).replace("m" * 200, "…") for spoken in HOSTS.values()} == {"…", '"…"', '42["echo","…"]'}


def test_long_labels_have_room() -> None:
    label = "SQLAlchemy ORM bulk (update: only the keys that are there)"
    root = ET.fromstring(render.svg(Plot("Long", "ms", {label: 1.0, "Headgate": 2.0})))
    ends = [float(text.attrib["x"]) for text in root.findall("{*}text") if text.text == label]
    assert ends[0] > 7 * len(label)
    assert float(root.attrib["width"]) > ends[0] + render.BAR
