"""Flags that take a length of time: `100ms`, `1.5s`, `2h`, or bare seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from headgate.watch.durations import seconds_of

F = TypeVar("F", bound=Callable[..., Any])


def seconds_option(name: str, default: float, help_text: str) -> Callable[[F], F]:
    """A flag whose value arrives as seconds."""

    def read(_ctx: click.Context, _option: click.Parameter, value: str) -> float:
        try:
            return seconds_of(value)
        except ValueError as exc:
            raise click.BadParameter(str(exc)) from None

    shown = f"{default * 1000:g}ms" if default < 1 else f"{default:g}s"
    return click.option(name, default=shown, show_default=True, metavar="TIME", callback=read, help=help_text)
