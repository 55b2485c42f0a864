"""`headgate version`: the versions of Headgate and of what it runs on."""

from __future__ import annotations

import platform
import sqlite3
from importlib import metadata

import click

import headgate


@click.command(short_help="Show versions.")
def version() -> None:
    """Show the versions of Headgate, Python, SQLite and the libraries that matter in a bug report."""
    click.echo(f"headgate {headgate.__version__}")
    click.echo(f"python {platform.python_version()} · sqlite {sqlite3.sqlite_version} · {platform.platform()}")
    for name in ("uvicorn", "uvloop", "httptools", "websockets", "msgspec", "flask"):
        try:
            click.echo(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            click.echo(f"{name} is not installed")
