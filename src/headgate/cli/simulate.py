"""`headgate simulate`: many clicking users against a target, from the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from headgate.base.errors import HeadgateError

_FILE = click.Path(dir_okay=False, writable=True, path_type=Path)


@click.command("simulate", short_help="Let many users click on a server, and report what they felt.")
@click.argument("target", required=False)
@click.option("--scenario", default="clicks", show_default=True, help="Built-in name, file.py[:Class] or module:Class.")
@click.option(
    "--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter of the scenario (JSON or text)."
)
@click.option(
    "--protocol",
    default="auto",
    show_default=True,
    help="auto, websocket, socketio, socketio-polling, socketio-upgrade or http.",
)
@click.option("--users", type=click.IntRange(1), help="How many users.")
@click.option("--rate", help="Clicks: 0.2/user (per second and user) or 50/s (all together).")
@click.option("--heavy", metavar="SHARE", help="Share of heavy clicks, such as 5%.")
@click.option("--for", "length", metavar="TIME", help="How long they click, such as 60s.")
@click.option(
    "--stage", "stages", multiple=True, metavar="TIME:USERS[@RATE]", help="Ramp to so many users; repeatable."
)
@click.option("--pace", type=click.Choice(["poisson", "even"]), help="How a user's clicks are spread.")
@click.option("--seed", type=int, help="Of all schedules; the same seed gives the same clicks.")
@click.option("--warmup", default="0s", metavar="TIME", help="Clicks of the first so long are not timed.")
@click.option(
    "--drain", default="30s", show_default=True, metavar="TIME", help="How long to wait for the last answers."
)
@click.option("--timeout", default="10s", show_default=True, metavar="TIME", help="For connecting and shaking hands.")
@click.option("--connect-rate", default=400.0, show_default=True, help="Connections opened per second at the start.")
@click.option("--processes", type=int, help="Generator processes (by default as many as the load needs).")
@click.option("--sources", type=int, help="Source addresses 127.0.0.1 to 127.0.0.N, when ports run short.")
@click.option(
    "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header of handshakes and requests."
)
@click.option("--insecure", is_flag=True, help="Accept any TLS certificate.")
@click.option("--unordered", is_flag=True, help="Answers may come in any order.")
@click.option("--slo", "slos", multiple=True, metavar="OBJECTIVE", help="Such as 'p99(click) < 50ms'; repeatable.")
@click.option(
    "--fault", "faults", multiple=True, metavar="KIND@TIME[,…]", help="Such as reconnect-storm@20s; repeatable."
)
@click.option(
    "--max-lag", default="10ms", show_default=True, metavar="TIME", help="Generator lag that makes a run invalid."
)
@click.option("--data", metavar="FOLDER", help="Data folder of the local Headgate behind the target.")
@click.option("--html", type=_FILE, help="Write a self-contained HTML report.")
@click.option("--json", "json_", type=_FILE, help="Write the report as JSON.")
@click.option("--junit", type=_FILE, help="Write the objectives as JUnit XML.")
@click.option("--prometheus", type=_FILE, help="Write the numbers as Prometheus text.")
@click.option(
    "--compare", nargs=2, type=click.Path(path_type=Path), metavar="A.json B.json", help="Compare two reports."
)
@click.option("--live/--no-live", default=None, help="A live view (by default on a terminal).")
@click.pass_context
def simulate(context: click.Context, /, target: str | None, **given: Any) -> None:
    """Let many users click on TARGET (ws://, wss://, http:// or https://) and report what they felt.

    Each user clicks at moments drawn from the seed before the run; latency counts from the intended
    moment, so a stall is not hidden by users who wait.

    \b
    headgate simulate ws://127.0.0.1:8000/updates --users 500 --rate 0.2/user --heavy 5% --for 60s \\
        --slo 'p99(click) < 50ms' --html report.html

    Exit codes: 0 passed, 1 an objective was missed or answers were lost, 2 the input is wrong,
    3 invalid (the generator was the bottleneck), 4 the target cannot be reached or never answers,
    5 the scenario raised, 130 interrupted (a partial report is written).
    """
    try:
        context.exit(_simulate(target, given))
    except HeadgateError as error:
        click.echo(f"headgate simulate: {error}", err=True)
        context.exit(int(getattr(error, "exit_code", 1)))


def _simulate(target: str | None, given: dict[str, Any]) -> int:
    # Imported here: `headgate run` lists this command without loading the simulator.
    from headgate.simulate.errors import BadInput

    if given["compare"]:
        if target is not None:
            raise BadInput("--compare reads two reports and runs nothing; leave the target out")
        return _compare(given)
    if target is None:
        raise BadInput("name a target, such as ws://127.0.0.1:8000/updates (or --compare two reports)")
    return _run(target, given)


def _run(target: str, given: dict[str, Any]) -> int:
    from headgate.simulate import api
    from headgate.simulate.live import LiveView
    from headgate.simulate.plan import make_plan
    from headgate.simulate.render.text import print_report

    plan = make_plan(_options(target, given))
    files = _files(given)
    live = given["live"] if given["live"] is not None else sys.stderr.isatty()
    with LiveView(plan, enabled=live) as view:
        report = api.run_plan(plan, view.pulse, on_stderr=view.keep_stderr)
    if view.stderr:
        click.echo(view.stderr, err=True, nl=False)
    for path, make in files:
        _write_file(path, make(report))
    print_report(report)
    return report.exit_code


def _options(target: str, given: dict[str, Any]) -> Any:
    from headgate.simulate.amounts import parse_duration, parse_share
    from headgate.simulate.plan import Options
    from headgate.simulate.stages import parse_stage

    return Options(
        target,
        scenario=given["scenario"],
        params=dict(_param(text) for text in given["params"]),
        protocol=given["protocol"],
        users=given["users"],
        rate=given["rate"],
        heavy=None if given["heavy"] is None else parse_share(given["heavy"], "--heavy"),
        seconds=None if given["length"] is None else parse_duration(given["length"], "--for"),
        stages=[parse_stage(text) for text in given["stages"]],
        faults=given["faults"],
        slo=given["slos"],
        ordered=False if given["unordered"] else None,
        pace=given["pace"],
        seed=given["seed"],
        warmup=parse_duration(given["warmup"], "--warmup"),
        drain=parse_duration(given["drain"], "--drain"),
        timeout=parse_duration(given["timeout"], "--timeout"),
        connect_rate=given["connect_rate"],
        processes=given["processes"],
        sources=given["sources"],
        headers=dict(_header(text) for text in given["headers"]),
        insecure=given["insecure"],
        max_lag=parse_duration(given["max_lag"], "--max-lag"),
        data=given["data"],
    )


def _param(text: str) -> tuple[str, Any]:
    import msgspec

    from headgate.simulate.errors import BadInput

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise BadInput(f"--param {text!r} is not understood; write name=value")
    try:
        return name, msgspec.json.decode(value)
    except msgspec.DecodeError:
        return name, value


def _header(text: str) -> tuple[str, str]:
    from headgate.simulate.errors import BadInput

    name, colon, value = text.partition(":")
    if not colon or not name.strip() or "\n" in text or "\r" in text:
        raise BadInput(f"--header {text!r} is not understood; write 'Name: value'")
    return name.strip(), value.strip()


def _files(given: dict[str, Any]) -> list[tuple[Path, Callable[[Any], str]]]:
    """The files asked for, each with what makes it; what cannot work is said before the run, not after it."""
    from headgate.simulate.errors import BadInput

    makers = {"json_": _json, "html": _html, "junit": _junit, "prometheus": _prometheus}
    wanted = [(given[option], maker()) for option, maker in makers.items() if given[option] is not None]
    for path, _ in wanted:
        if not path.absolute().parent.is_dir():
            raise BadInput(f"{path} cannot be written: the folder {path.parent} does not exist")
    return wanted


def _json() -> Callable[[Any], str]:
    return lambda report: str(report.to_json(), "utf-8")


def _html() -> Callable[[Any], str]:
    from headgate.simulate.render.html import html_page

    return html_page


def _junit() -> Callable[[Any], str]:
    from headgate.simulate.render.junit import junit_xml

    return junit_xml


def _prometheus() -> Callable[[Any], str]:
    from headgate.simulate.render.prometheus import prometheus_text

    return prometheus_text


def _write_file(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        click.echo(f"headgate simulate: {path} cannot be written: {error.strerror}", err=True)
    else:
        click.echo(f"wrote {path}", err=True)


def _compare(given: dict[str, Any]) -> int:
    from headgate.simulate.compare import compare
    from headgate.simulate.render.html import compare_page
    from headgate.simulate.render.text import print_comparison
    from headgate.simulate.report import read_report

    first, second = given["compare"]
    one, two = read_report(first), read_report(second)
    names = (str(first), str(second))
    comparison = compare(one, two, names)
    if given["html"] is not None:
        _write_file(given["html"], compare_page(one, two, comparison))
    print_comparison(comparison)
    return 0
