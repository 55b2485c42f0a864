"""`headgate config`: every setting in force and where it came from."""

from __future__ import annotations

from typing import Any

import click

from headgate.cli.console import out
from headgate.cli.options import chdir_option, loaded, setting_options
from headgate.config.explain import explain, reference


@click.command(short_help="Show every setting and where it came from.")
@click.option("--set", "only_set", is_flag=True, help="Only those that are not at their default.")
@click.option("--reference", "as_reference", is_flag=True, help="The reference page of all settings, in Markdown.")
@setting_options()
@chdir_option
def config(only_set: bool, as_reference: bool, chdir: str | None, **flags: Any) -> None:
    """Show every setting as `headgate run` would see it here, and where it came from. Secrets are hidden."""
    if as_reference:
        click.echo(reference(), nl=False)
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("setting", "value", "from"):
        table.add_column(column, overflow="fold")
    topic = None
    for line in explain(loaded(flags, chdir)):
        if only_set and line.origin == "default":
            continue
        if line.topic is not topic:
            topic = line.topic
            table.add_row(f"[bold]{topic.value}[/]")
        style = "dim" if line.origin == "default" else "cyan"
        table.add_row(f"  {line.key}", f"[{style}]{_plain(line.value)}[/]", _plain(line.origin))
    out().print(table)


def _plain(text: str) -> str:
    """Text whose brackets are no markup."""
    from rich.markup import escape

    return escape(text)
