"""`headgate doctor`: what is wrong with a deployment, with evidence and the fix."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from headgate import __version__
from headgate.cli.console import err, out

_COLOURS: Final = {"error": "bold red", "warning": "yellow", "info": "cyan"}
_NEVER: Final = "never"


@click.command(short_help="Find what is wrong with a deployment.")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--live", is_flag=True, help="Look at what runs on this machine too: processes, kernel, SELinux, logs.")
@click.option("--system", is_flag=True, help="Read this machine's systemd, nginx, Redis and sysctl configuration too.")
@click.option("--database", metavar="URL", help="Ask this database for its limits.")
@click.option("--redis", metavar="URL", help="Ask this Redis for its memory policy.")
@click.option("--root", type=click.Path(path_type=Path), default=Path("/"), hidden=True)
@click.option("--ignore", multiple=True, metavar="RULE", help="Do not report this rule; may be repeated.")
@click.option(
    "--fail-level",
    type=click.Choice(["info", "warning", "error", _NEVER]),
    default="error",
    show_default=True,
    help="Exit with 1 when something of this severity, or a worse one, is found.",
)
@click.option("--format", "form", type=click.Choice(["text", "json", "sarif"]), default="text", show_default=True)
@click.option("--rules", "list_rules", is_flag=True, help="List the rules, and examine nothing.")
@click.option("--reference", is_flag=True, hidden=True, help="Print docs/reference/doctor-rules.md.")
def doctor(
    paths: tuple[Path, ...],
    live: bool,
    system: bool,
    database: str | None,
    redis: str | None,
    root: Path,
    ignore: tuple[str, ...],
    fail_level: str,
    form: str,
    list_rules: bool,
    reference: bool,
) -> None:
    """Examine folders and files (the current folder by default): the app's source, gunicorn, systemd, nginx, Redis and
    container files, whatever server they are for.

    A line is left alone when it, or the line above, has the comment "# headgate: ignore RULE".
    """
    from headgate.doctor import gather
    from headgate.doctor.examine import examine, ignored_by_project
    from headgate.doctor.model import Severity

    if reference:
        from headgate.doctor.reference import reference as page

        click.echo(page(), nl=False)
        return
    if list_rules:
        out().print(_rules())
        return
    looked = paths or (() if live or system else (Path(),))
    case = gather.folders(looked)
    if system:
        gather.system(case, root)
    if live:
        gather.live(case, root)
    if database:
        gather.ask_database(case, database)
    if redis:
        gather.ask_redis(case, redis)
    base = looked[0] if looked and looked[0].is_dir() else Path()
    examined = examine(case, (*ignore, *ignored_by_project(base)), base)
    if form == "text":
        out().print(_picture(examined))
    else:
        from headgate.doctor.report import as_json, as_sarif

        value = as_json(examined) if form == "json" else as_sarif(examined, __version__)
        click.echo(json.dumps(value, indent=2))
    for note in examined.notes if form == "text" else ():
        err().print(Text(f"not looked at: {note}", style="dim"))
    if fail_level != _NEVER and (examined.worst or 0) >= Severity[fail_level.upper()]:
        sys.exit(1)


def _rules() -> RenderableType:
    from headgate.doctor.rules import RULES

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("rule", "severity", "what it finds"):
        table.add_column(column, no_wrap=column != "what it finds")
    for rule in RULES.values():
        table.add_row(rule.id, Text(str(rule.severity), style=_COLOURS[str(rule.severity)]), rule.title)
    return table


def _picture(examined: Any) -> RenderableType:
    """All findings, the worst first, and the count."""
    parts = [_finding(number, found) for number, found in enumerate(examined.findings, 1)]
    return Group(*parts, _count(examined))


def _finding(number: int, found: Any) -> RenderableType:
    from headgate.doctor.report import diff
    from headgate.doctor.rules import RULES

    rule = RULES[found.rule]
    head = Text.assemble(
        (f"{number:>2}  ", "dim"),
        (f"{rule.severity} ", _COLOURS[str(rule.severity)]),
        (rule.title, "bold"),
        (f"  {rule.id}", "dim"),
    )
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("here", found.message)
    for place in found.places:
        grid.add_row("", Text.assemble((str(place), "cyan"), f"  {place.text}" if place.text else ""))
    grid.add_row("why", rule.why)
    grid.add_row("fix", found.fix or rule.fix)
    change = diff(found)
    if change:
        grid.add_row("", _coloured(change))
    grid.add_row("see", Text(rule.source, style="dim"))
    return Group(head, Padding(grid, (0, 0, 1, 4), expand=False))


def _coloured(change: str) -> Text:
    text = Text()
    for line in change.splitlines()[2:]:
        style = {"+": "green", "-": "red"}.get(line[:1], "dim")
        text.append(line + "\n", style=style)
    text.rstrip()
    return text


def _count(examined: Any) -> Text:
    from headgate.doctor.rules import RULES

    if not examined.findings:
        kept = f" ({examined.suppressed} suppressed)" if examined.suppressed else ""
        return Text(f"Nothing found by {len(RULES)} rules{kept}.", style="green")
    counts = [
        f"{count} {name}{'' if count == 1 or name == 'info' else 's'}"
        for name in ("error", "warning", "info")
        if (count := sum(str(RULES[found.rule].severity) == name for found in examined.findings))
    ]
    kept = f", {examined.suppressed} suppressed" if examined.suppressed else ""
    return Text(", ".join(counts) + kept + ".", style="bold")
