"""`headgate watch report`: a page of what blocked in a period."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import click

from headgate.base.errors import ConfigError
from headgate.cli.console import out
from headgate.cli.options import chdir_option, loaded
from headgate.watch.durations import seconds_of

PAGE: Final = "headgate-watch.html"


@click.command(short_help="Make a page of what blocked, with a flame graph.")
@click.argument("folder", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--since", metavar="TIME", help="Only the last 15min, 2h, 7d, … [default: everything]")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), default=Path(PAGE), show_default=True)
@click.option("--text", "as_text", is_flag=True, help="A table here instead of a page.")
@chdir_option
def report(folder: Path | None, since: str | None, output: Path, as_text: bool, chdir: str | None) -> None:
    """Make a page of the incidents in FOLDER: of a `watch run`, or of the Headgate here.

    Without FOLDER it is the Headgate whose data folder is found from here, else the latest `watch run`.
    """
    from headgate.watch import journal
    from headgate.watch.incidents import Groups
    from headgate.watch.report import page

    place = _place(folder, chdir)
    incidents = list(journal.read(place, time.time() - _period(since) if since else 0.0))
    if as_text:
        from headgate.cli.watch_places import places

        out().print(places(Groups(each for each in incidents if not each.startup and not each.unfinished), most=50))
        return
    output.write_text(page(incidents, _title(place)), encoding="utf-8")
    out().print(f"{len(incidents)} incidents of {place} → {output}", soft_wrap=True)


def _period(text: str) -> float:
    try:
        return seconds_of(text)
    except ValueError as exc:
        raise ConfigError(f"--since {exc}") from None


def _place(folder: Path | None, chdir: str | None) -> Path:
    from headgate.watch import folders

    if folder is not None:
        return folder if folder.is_dir() else folder.parent
    own = loaded({}, chdir).settings.folder.watch
    if folders.is_watched(own):
        return own
    for run in folders.runs():
        if folders.is_watched(run):
            return run
    raise ConfigError(
        "There is nothing to report yet: start a service with `headgate watch run -- COMMAND`, or with `headgate run`."
    )


def _title(place: Path) -> str:
    return f"in {place.parents[1].resolve().parent.name}" if place.name == "watch" else f"in {place.name}"
