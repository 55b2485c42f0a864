"""`headgate deploy`: writes, verifies, installs and takes back a whole deployment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from headgate.base.errors import ConfigError
from headgate.cli.console import complain, out
from headgate.cli.options import loaded

if TYPE_CHECKING:
    from headgate.deploy.folder import Written
    from headgate.deploy.install import Step
    from headgate.deploy.verify import Check

_STYLES: Final = {
    "create": "green",
    "replace": "yellow",
    "keep": "dim",
    "adopt": "green",
    "remove": "red",
    "restore": "cyan",
    "spare": "bold yellow",
    "forget": "dim",
    "passed": "green",
    "failed": "bold red",
    "missing": "yellow",
}


@click.command(short_help="Write, verify and install a deployment.")
@click.argument("system")
@click.argument("app", required=False)
@click.option("--domain", metavar="NAME", help="The host name that nginx serves.")
@click.option("--name", default="", help="Of the service, its user and folders; default: the app's module.")
@click.option(
    "--from",
    "sources",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    metavar="FILE",
    help="Take over what an old deployment says: gunicorn.conf.py, a unit, supervisord, nginx.",
)
@click.option("--static", multiple=True, metavar="/PREFIX/=FOLDER", help="Files that nginx serves by itself.")
@click.option("--env", "environment", multiple=True, metavar="NAME=VALUE", help="A variable of the services.")
@click.option("--secret", "secrets", multiple=True, metavar="NAME", help="A credential of the services.")
@click.option("--allow-write-execute", is_flag=True, help="For gevent, numba and cffi callbacks.")
@click.option("--chdir", type=click.Path(exists=True, file_okay=False), help="Where headgate.toml is looked for.")
@click.option("--to", type=click.Path(path_type=Path), help="The folder to write; default: deploy-SYSTEM.")
@click.option("--verify", is_flag=True, help="Let systemd, nginx, SELinux, firewalld and logrotate judge the result.")
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Install below this folder, / for this system.",
)
@click.option("--yes", is_flag=True, help="Install without asking.")
@click.option("--overwrite", is_flag=True, help="Write the folder's files anew, those too that somebody has edited.")
@click.option("--force", is_flag=True, help="Replace what is not ours, keeping a copy, and what was edited.")
@click.option("--uninstall", is_flag=True, help="Take back what --root installed; needs --name.")
def deploy(system: str, app: str | None, **given: Any) -> None:
    """Write the deployment of APP for SYSTEM: rhel (9), el8, el9, el10, debian, debian12, debian13, ubuntu24.04.

    One folder to be reviewed: systemd units, nginx, SELinux, sysctl, users, firewall, backup, and a README with the
    reasons. Nothing on this machine is changed without --root.
    """
    if given["uninstall"]:
        _uninstall(given)
        return
    if app is None or given["domain"] is None:
        raise ConfigError(
            "Write headgate deploy SYSTEM APP --domain NAME, as in: headgate deploy rhel shop:app "
            "--domain shop.example.com"
        )
    plan = _plan(system, app, given)
    from headgate.deploy.folder import write
    from headgate.deploy.render import render

    folder = given["to"] or Path(f"deploy-{plan.release.key}")
    written = write(render(plan), folder, given["overwrite"], [each.name for each in given["sources"]])
    told = f"{len(written.files)} files for {plan.release.title} in "
    out().print(Text.assemble(("● ", "green"), told, (f"{folder}/", "cyan"), ("  read README.md first", "dim")))
    for note in plan.notes:
        out().print(Text.assemble(("  not taken over: ", "yellow"), note))
    if written.missing:
        told = " ".join(f"--from {name}" for name in written.missing)
        more = f"given before, and not this time: {told}; what it said is left out (--overwrite forgets it)"
        out().print(Text.assemble(("  note: ", "yellow"), more))
    _tell_edited(written)
    failed = given["verify"] and _verified(folder, plan)
    if failed:
        sys.exit(1)
    if given["root"] is not None:
        _install(written.files, plan.name, given)


def _tell_edited(written: Written) -> None:
    for path in written.edited:
        more = f"; the new version is {path}.new" if path in written.beside else ""
        out().print(Text.assemble(("  edited, and kept: ", "yellow"), path, more))
    if written.edited:
        out().print(Text("  --overwrite writes edited files anew", style="dim"))


def _plan(system: str, app: str, given: dict[str, Any]) -> Any:
    from headgate.deploy import plan as plans
    from headgate.deploy.releases import release
    from headgate.deploy.takeover import Old, read, settings_with

    found = loaded({}, given["chdir"])
    old = read(given["sources"]) if given["sources"] else Old()
    said = _pairs(given["environment"], "--env", "NAME=VALUE")
    old.give(said)
    old.note_secrets()
    old.note_paths(plans.name_of(app, given["name"]))
    certificates = old.certificates(given["domain"].lower())
    return plans.make(
        app,
        given["domain"],
        release(system),
        settings_with(found, old),
        name=given["name"],
        environment={**old.environment, **said},
        secrets=(*old.secrets, *given["secrets"]),
        static={**old.static, **_pairs(given["static"], "--static", "/PREFIX/=FOLDER")},
        certificates=certificates,
        write_execute=given["allow_write_execute"],
        notes=tuple(dict.fromkeys(old.notes)),
    )


def _pairs(words: tuple[str, ...], flag: str, form: str) -> dict[str, str]:
    pairs = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ConfigError(f"{flag} {word!r}: write it as {form}.")
        pairs[key] = value
    return pairs


def _verified(folder: Path, plan: Any) -> bool:
    """Show the verifiers' judgements; returns whether one has failed."""
    from headgate.deploy.verify import State, verify

    checks = verify(folder, plan)
    out().print(_judgements(checks))
    return any(check.state is State.FAILED for check in checks)


def _judgements(checks: list[Check]) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 2), show_header=False)
    for check in checks:
        table.add_row(
            Text(check.state.value, style=_STYLES[check.state.value]), check.name, Text(check.detail, style="dim")
        )
    return table


def _install(files: Any, name: str, given: dict[str, Any]) -> None:
    from headgate.deploy.install import carry_out, steps
    from headgate.deploy.labels import labels

    planned = steps(files, name, given["root"], given["force"])
    if _go_on(planned, given["yes"], f"Install {name} below {given['root']}?"):
        carry_out(planned, name, given["root"], labels(files))
        out().print(Text(f"Installed{_but(planned)}. The README says what to start.", style="green"))


def _uninstall(given: dict[str, Any]) -> None:
    from headgate.deploy.install import carry_out, uninstall
    from headgate.deploy.labels import afterwards
    from headgate.deploy.record import load

    if not given["name"] or given["root"] is None:
        raise ConfigError("Write headgate deploy SYSTEM --uninstall --name NAME --root /.")
    planned = uninstall(given["name"], given["root"], given["force"])
    if _go_on(planned, given["yes"], f"Remove {given['name']} below {given['root']}?"):
        labelled = load(given["root"], given["name"]).labels
        carry_out(planned, given["name"], given["root"])
        out().print(Text(f"Removed{_but(planned)}. Data and users are as they were.", style="green"))
        for command in afterwards(labelled):
            out().print("Files keep the labels of the SELinux module until it goes and they are labelled anew:")
            out().print(Text(f"  {command}", style="cyan"), soft_wrap=True)


def _but(planned: list[Step]) -> str:
    from headgate.deploy.install import Action

    spared = sum(step.action is Action.SPARE for step in planned)
    return f", but for {spared} {'file that was' if spared == 1 else 'files that were'} spared" if spared else ""


def _go_on(planned: list[Step], yes: bool, question: str) -> bool:
    """Show the plan and ask; False where there is nothing to do."""
    from headgate.deploy.install import Action, changes

    lines = [
        Text.assemble(
            (f"  {step.action.value:8}", _STYLES[step.action.value]),
            str(step.path),
            (f"  {step.note}" if step.note else "", "dim"),
        )
        for step in planned
        if step.action is not Action.KEEP
    ]
    kept = sum(step.action is Action.KEEP for step in planned)
    if kept:
        lines.append(Text(f"  {kept} files are as they should be", style="dim"))
    out().print(Group(*lines))
    if not changes(planned):
        spared = ", and what is spared stays as it is" if len(planned) > kept else ""
        out().print(Text(f"Nothing changes{spared}.", style="green"))
        return False
    if not yes and not click.confirm(question):
        complain("Nothing was changed.")
        sys.exit(1)
    return True
