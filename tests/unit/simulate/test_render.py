"""Reports as HTML, JUnit XML, Prometheus text and on a terminal; two of them side by side."""

from __future__ import annotations

import io
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from headgate.simulate.compare import compare
from headgate.simulate.histogram import Histogram
from headgate.simulate.render.charts import charts, latency_over_time
from headgate.simulate.render.html import compare_page, html_page
from headgate.simulate.render.junit import junit_xml
from headgate.simulate.render.plot import Scale, linear, logarithmic, ticks, time_ticks
from headgate.simulate.render.prometheus import prometheus_text
from headgate.simulate.render.text import print_comparison, print_report
from headgate.simulate.report import Judgement, Mark, Moment, Report, Sample, Second
from tests.unit.simulate.reports import busy_report, make_report

OBJECTIVES = [
    Judgement(objective="p99(click) < 50ms", passed=False, value=0.99, shown="990 ms"),
    Judgement(objective="lost == 0", passed=True, value=0.0, shown="0", built_in=True),
]


class Tags(HTMLParser):
    """Counts tags, keeps the text, and finds what a browser would have to fetch."""

    VOID = frozenset({"meta", "br", "hr", "img", "link", "input"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: dict[str, int] = {}
        self.words: list[str] = []
        self.fetches: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1
        self.fetches += [f"{k}={v}" for k, v in attrs if k in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_all_plots_over_time_share_an_axis_that_holds_what_the_server_did_after_the_clicks() -> None:
    samples = [Sample(at=float(at), values={"jobs: bulk.queued": 40.0 - at}) for at in range(40)]
    report = busy_report(server=samples, marks=[Mark(41.0, "the new generation serves")])
    plots = [plot for plot in charts(report) if not plot.title.startswith("distribution")]
    assert {plot.x for plot in plots} == {Scale(0.0, 41.0)}
    assert all(0 <= plot.x(x) <= 1 for plot in plots for line in plot.lines for x, _ in line.points)


@pytest.mark.parametrize(
    "report",
    [
        busy_report(objectives=OBJECTIVES, exit_code=1),
        busy_report(invalid=["the generator <was> late"], exit_code=3),
        make_report({}, problem="nothing listens on 127.0.0.1:1\n<traceback>", exit_code=4, seconds=0.0),
    ],
)
def test_the_page_is_whole_escaped_and_needs_nothing_else(report: Report) -> None:
    page = html_page(report)
    tags = Tags(page)
    assert tags.open == []
    assert tags.fetches == []
    assert "script" not in tags.seen
    assert "url(" not in page
    assert report.verdict in "".join(tags.words)
    assert "nan" not in page.lower().split("<main>")[1]


def test_the_page_has_the_plots_and_their_marks() -> None:
    tags = Tags(html_page(busy_report()))
    text = "".join(tags.words)
    assert tags.seen["figure"] == 5  # click, distribution, traffic, generator, server memory
    for words in ("click: latency over time", "reconnect <storm>", "server: memory (MB)", "error: HTTP 503"):
        assert words.replace("error: HTTP 503", "HTTP 503") in text


def test_a_long_run_is_drawn_in_bins_that_keep_the_worst() -> None:
    seconds = [
        Second(at=at, counts={}, series={"click": Moment(count=1, p50=0.001, p99=0.9 if at == 77 else 0.01, max=1.0)})
        for at in range(3600)
    ]
    plot = latency_over_time(make_report(quick(1), timeline=seconds, seconds=3600.0), "click")
    p99 = next(line.points for line in plot.lines if line.name == "p99")
    assert len(p99) == 600
    assert [at for at, value in p99 if value > 0.5] == [75.0]


def test_scales_map_to_the_unit_range() -> None:
    log = logarithmic([0.002, 0.4])
    assert (log.low, log.high, log(0.001), log(1.0), log(0)) == (0.001, 1.0, 0.0, 1.0, 0.0)
    assert log(0.1) == pytest.approx(2 / 3)
    assert ticks(log) == pytest.approx([0.001, 0.01, 0.1, 1.0])
    assert ticks(logarithmic([0.02])) == pytest.approx([0.01, 0.02, 0.05, 0.1])
    assert (linear([130]).high, linear([]).high, linear([0.2], least=1).high) == (200, 1, 1)
    assert ticks(Scale(0, 8)) == [0, 2, 4, 6, 8]
    assert [label for _, label in time_ticks(600)] == ["0:00", "2:00", "4:00", "6:00", "8:00", "10:00"]


def test_junit_has_a_case_for_each_objective() -> None:
    suite = ElementTree.fromstring(junit_xml(busy_report(objectives=OBJECTIVES, exit_code=1)))
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "1", "0")
    failures = [case.get("name") for case in suite if case.find("failure") is not None]
    assert failures == ["p99(click) < 50ms"]


def test_junit_tells_of_a_run_that_could_not_be_done() -> None:
    suite = ElementTree.fromstring(junit_xml(make_report({}, problem="no\x00body\nthere", exit_code=4)))
    errors = [error.get("message") for error in suite.iter("error")]
    assert errors == ["nobody"]


def test_prometheus_text_is_read_by_prometheus() -> None:
    families = {f.name: f for f in text_string_to_metric_families(prometheus_text(busy_report()))}
    assert families["headgate_simulate_latency_seconds"].type == "summary"
    samples = families["headgate_simulate_latency_seconds"].samples
    found = {
        s.labels["quantile"]: s.value for s in samples if s.labels.get("quantile") and s.labels["series"] == "click"
    }
    assert found["0.99"] == pytest.approx(0.99, rel=0.01)
    assert {s.labels["target"] for s in samples} == {busy_report().target}
    events = {s.labels["event"]: s.value for s in families["headgate_simulate_events"].samples}
    assert (events["clicks"], events["lost"]) == (999, 3)


def shown(width: int = 120) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=width, highlight=False), out


def test_the_terminal_shows_the_verdict_and_what_was_missed() -> None:
    console, out = shown()
    print_report(busy_report(objectives=OBJECTIVES, exit_code=1), console)
    text = out.getvalue()
    for words in ("FAILED", "✗ p99(click) < 50ms", "lost 3: answer never came", "error 1: HTTP 503", "990 ms"):
        assert words in text
    assert "lost == 0" not in text  # a built-in objective that was met is no news


def quick(factor: float) -> dict[str, Histogram]:
    histogram = Histogram()
    for millis in range(1, 101):
        histogram.record(factor * millis / 1000)
    return {"click": histogram}


def test_two_runs_are_compared() -> None:
    first = make_report(quick(1), counts={"clicks": 100})
    second = make_report(quick(2), counts={"clicks": 100, "lost": 1}, seed=2, invalid=["late"])
    comparison = compare(first, second, ("a.json", "b.json"))
    rows = {row.name: row for row in comparison.rows}
    assert rows["p50 click"].ratio == pytest.approx(2, rel=0.01)
    assert (rows["p50 click"].verdict, rows["lost"].verdict, rows["clicks"].verdict) == ("slower", "worse", "")
    assert comparison.differences == ["seed: 1 and 2", "the second run is invalid: late"]
    console, out = shown()
    print_comparison(comparison, console)
    assert "×2.00" in out.getvalue()
    tags = Tags(compare_page(first, second, comparison))
    assert (tags.open, tags.seen["figure"]) == ([], 1)


def test_small_differences_are_ties() -> None:
    rows = {row.name: row.verdict for row in compare(make_report(quick(1)), make_report(quick(1.2))).rows}
    assert rows["p99 click"] == "equal"
    rows = {row.name: row.verdict for row in compare(make_report(quick(1)), make_report(quick(0.5))).rows}
    assert rows["p99 click"] == "faster"


def test_a_series_that_one_run_lacks_is_shown_as_missing() -> None:
    row = compare(make_report(quick(1)), make_report({})).rows[1]
    assert (row.name, row.second, row.ratio) == ("p50 click", "–", None)
