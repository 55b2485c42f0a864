"""`headgate run`: becomes the supervisor of all processes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

import click

from headgate.base.errors import ConfigError
from headgate.cli.console import complain, err
from headgate.cli.options import chdir_option, loaded, setting_options
from headgate.config.settings import Settings

_ELSEWHERE: Final = {
    "--host": "write --bind HOST:PORT, such as --bind 0.0.0.0:8000",
    "--port": "write --bind HOST:PORT, such as --bind 127.0.0.1:9000",
    "-b": "write --bind HOST:PORT",
    "-p": "write --bind HOST:PORT",
    "-w": "write --workers N",
    "-k": "it is not needed: Headgate finds out itself how the app wants to be run",
    "--worker-class": "it is not needed: Headgate finds out itself how the app wants to be run",
}
"""Flags that users of other servers try first, and what does their work here."""


class _Teaching(click.Command):
    """A command that knows other servers' flags by name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as exc:
            advice = _ELSEWHERE.get(exc.option_name)
            if advice is None:
                raise
            raise click.NoSuchOption(
                exc.option_name, f"No such option: {exc.option_name}; {advice}.", ctx=ctx
            ) from None


@click.command(cls=_Teaching, short_help="Start everything.")
@click.argument("app", required=False)
@setting_options()
@chdir_option
def run(app: str | None, chdir: str | None, **flags: Any) -> None:
    """Start everything that serves APP, a "module:attribute" such as app:app.

    The current folder is where APP is imported from and where headgate.toml is looked for. Ctrl-C
    finishes what is under way and ends; a second Ctrl-C ends at once. SIGHUP, or `headgate reload`,
    brings in new code.
    """
    settings = loaded({"app": app, **flags}, chdir).settings
    _check_app(settings)
    _check_companions(settings)
    sys.exit(_supervise(settings, _check_engine(settings)))


class _Table:
    """Prints the start-up table once everything serves.

    Args:
        engine: what a shared engine says of itself.
    """

    def __init__(self, engine: Mapping[str, Any] | None) -> None:
        self._engine = engine

    def ready(self, status: dict[str, Any]) -> None:
        from headgate.cli.startup import table

        err().print(table(status, self._engine))


def _supervise(settings: Settings, engine: Mapping[str, Any] | None) -> int:
    from headgate.supervisor import logs
    from headgate.supervisor.loop import Supervisor

    logs.set_up("supervisor", settings.log_level)
    finish = Supervisor(settings, audience=_Table(engine)).run()
    if finish.failure is not None:
        complain(finish.failure.message, finish.failure.traceback)
    return finish.code


def _check_app(settings: Settings) -> None:
    """Find the mistakes in the app's address that need no import."""
    from headgate.config.app import check

    if "app" in settings.roles or "jobs" in settings.roles:
        check(settings.app)


def _check_companions(settings: Settings) -> None:
    """Workers of RQ and Celery need what they work on."""
    from headgate.cli.shared import is_shared
    from headgate.roles.carriers import unreachable

    for tool, workers in (("rq", settings.rq_workers), ("celery", settings.celery_workers)):
        if workers and not is_shared(settings):
            raise ConfigError(
                f"{tool}_workers run jobs of an engine that is a Redis, and broker is {settings.broker!r}: "
                "set broker to its URL, redis://… (or let Headgate's own job workers run them)."
            )
    if settings.rq_workers and "rq" in (why := unreachable(settings.broker, settings)):
        raise ConfigError(f"rq_workers: {why['rq']}.")
    if settings.celery_workers and not settings.celery_app:
        raise ConfigError('celery_workers needs celery_app: the Celery app, as "module:attribute".')


def _check_engine(settings: Settings) -> Mapping[str, Any] | None:
    """A shared engine is there before us, or we do not start: each process would fail at it by itself.

    Returns what it says of itself; None for an engine of our own.
    """
    from headgate.cli import shared

    return shared.look(settings) if shared.is_shared(settings) else None
