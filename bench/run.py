"""`python -m bench.run NAME [NAME …]`: run benchmarks, print their tables, renew the reference page.

`all` runs every one, `render` only renews the page from bench/results/*.json, `--quick` shortens the runs
(its results are printed and not written). `--minutes 5` measures as many rounds as fit and keeps them; the same
command goes on there, until all are done and the result is written (exit code 3 until then).
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

from bench import render
from bench.result import Result
from bench.rounds import BUDGET, Unfinished

FOLDER = Path(__file__).parent
UNFINISHED = 3


def names() -> list[str]:
    """The benchmarks: folders with a `run.py` that has `measure(quick) -> Result`."""
    return sorted(path.parent.name for path in FOLDER.glob("*/run.py") if "\ndef measure(" in path.read_text())


def show(result: Result) -> None:
    """Print a result as a terminal shows it best."""
    console = Console(width=max(100, Console().width))
    console.rule(f"[bold]{result.title}")
    console.print(result.question)
    for line in result.setup:
        console.print(f"  · {line}", highlight=False)
    for table in result.tables:
        shown = RichTable(title=table.title, title_justify="left")
        for number, column in enumerate(table.columns):
            shown.add_column(column, justify="left" if number == 0 else "right")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
    for ratio in result.ratios:
        verdict = {True: "[green]met[/green]", False: "[red]not met[/red]", None: ""}[ratio.met]
        bar = f" (bar: {ratio.bar})" if ratio.bar else ""
        console.print(f"  {ratio.text}: [bold]{ratio.value}[/bold]{bar} {verdict}", highlight=False)


def main(arguments: list[str] | None = None) -> int:
    """Returns 1 when a bar was not met and 3 when rounds are missing, so that a script can tell."""
    parser = argparse.ArgumentParser(prog="bench.run", description=__doc__)
    parser.add_argument("names", nargs="+", choices=[*names(), "all", "render"], metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="short runs, nothing written")
    parser.add_argument("--minutes", type=float, help="stop in time, and go on with the next run")
    parser.add_argument("--rounds", type=int, help="be content with so many rounds; the page says how many it were")
    given = parser.parse_args(arguments)
    if given.rounds is not None:
        BUDGET.most_rounds = given.rounds
    if given.minutes is not None:
        BUDGET.set(given.minutes)
    wanted = names() if "all" in given.names else [name for name in given.names if name != "render"]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers are stopped on the way out
    met = True
    for name in wanted:
        try:
            result: Result = importlib.import_module(f"bench.{name}.run").measure(given.quick)
        except Unfinished as unfinished:
            print(unfinished)
            return UNFINISHED
        show(result)
        met &= all(ratio.met is not False for ratio in result.ratios)
        if not given.quick:
            print(f"wrote {result.write()}")
    if not given.quick:
        print(f"wrote {render.page()}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
