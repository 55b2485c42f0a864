"""A report as one HTML file that needs nothing else: styles and plots are in it, scripts there are none."""

from __future__ import annotations

from headgate.simulate.amounts import show_seconds
from headgate.simulate.compare import Comparison
from headgate.simulate.errors import BadInput
from headgate.simulate.render.charts import charts, distribution
from headgate.simulate.report import Report

try:
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
    from markupsafe import Markup
except ImportError as error:
    raise BadInput(
        "an HTML report needs the package jinja2, which is not installed;"
        " install it with: pip install 'headgate[simulate]'"
    ) from error


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("headgate.simulate", "render/templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["time"] = show_seconds
    return environment


def html_page(report: Report) -> str:
    """One run as a page."""
    figures = [Markup(plot.html()) for plot in charts(report)]
    template = _environment().get_template("report.html.j2")
    return template.render(report=report, figures=figures, facts=_facts(report))


def compare_page(first: Report, second: Report, comparison: Comparison) -> str:
    """Two runs side by side as a page."""
    plot = distribution([(first, "A "), (second, "B ")])
    template = _environment().get_template("compare.html.j2")
    return template.render(
        first=first,
        second=second,
        comparison=comparison,
        figure=Markup(plot.html()),
    )


def _facts(report: Report) -> list[tuple[str, str, str]]:
    """(name, value, mood) of the cards on top; mood is good, bad or empty."""
    click = report.series.get("click") or next(iter(report.series.values()), None)
    cards = [("clicks", f"{report.counts.get('clicks', 0):,}", "")]
    cards.append(("answered", f"{report.counts.get('answered', 0):,}", ""))
    if click is not None:
        name = "click" if "click" in report.series else next(iter(report.series))
        cards += [(f"p{p} {name}", show_seconds(click.percentiles[p]), "") for p in ("50", "99")]
    if "update.result" in report.series:
        cards.append(("p99 to result", show_seconds(report.series["update.result"].percentiles["99"]), ""))
    cards.append(("lost", f"{report.lost:,}", "bad" if report.lost else "good"))
    errors = report.counts.get("errors", 0)
    cards.append(("errors", f"{errors:,}", "bad" if errors else "good"))
    disconnects = report.counts.get("disconnects", 0)
    cards.append(("disconnects", f"{disconnects:,}", "bad" if disconnects else "good"))
    return cards
