"""`headgate jobs`, on an engine in memory that has some jobs in it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import msgspec
import pytest
from click.testing import CliRunner, Result

from headgate.base.model import Failure, JobRecord, JobSpec, Outcome, Settlement
from headgate.cli.console import err, out
from headgate.cli.jobs import jobs
from headgate.drivers.memory import MemoryEngine
from headgate.roles import choose


def spec(name: str, queue: str = "default") -> JobSpec:
    return JobSpec(id=name, function=f"shop:{name}", arguments=msgspec.msgpack.encode([[7], {}]), queue=queue)


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command connects to an engine with a failed job, one that succeeded, and one that waits."""

    class Engine(MemoryEngine):
        async def open(self) -> None:
            await super().open()
            await self.sink.put([spec("broken"), spec("done"), spec("waits", "bulk")])
            claims: dict[str, JobRecord] = {}
            while len(claims) < 2:
                claims |= {claim.job.id: claim.job for claim in await self.source.take("w", ["default"], 2)}
            failure = Failure("ValueError", "no such table", "Traceback: here")
            await self.source.settle(
                "w",
                [
                    Settlement(id="broken", epoch=claims["broken"].epoch, outcome=Outcome.FAILED, failure=failure),
                    Settlement(
                        id="done",
                        epoch=claims["done"].epoch,
                        outcome=Outcome.SUCCEEDED,
                        result=msgspec.msgpack.encode({"rows": 3}),
                    ),
                ],
            )

    monkeypatch.setattr(choose, "open_engine", lambda *_: Engine())
    monkeypatch.setenv("HEADGATE_BROKER", "unix:/run/stand-in.sock")  # no file is looked for beforehand


@pytest.fixture(autouse=True)
def consoles() -> Iterator[None]:
    """Consoles keep the stdout of the test that made them."""
    out.cache_clear()
    err.cache_clear()
    yield
    out.cache_clear()
    err.cache_clear()


def headgate_jobs(*arguments: str) -> Result:
    return CliRunner().invoke(jobs, arguments)


def test_ls_lists_the_newest_first() -> None:
    lines = headgate_jobs("ls", "--json").stdout.splitlines()
    assert {json.loads(line)["id"]: json.loads(line)["state"] for line in lines} == {
        "waits": "queued",
        "done": "succeeded",
        "broken": "failed",
    }


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--failed"], {"broken"}),
        (["--state", "queued", "--state", "failed"], {"broken", "waits"}),
        (["--queue", "bulk"], {"waits"}),
        (["--function", "shop:done"], {"done"}),
        (["--tag", "none"], set()),
    ],
)
def test_ls_finds_what_is_asked_for(options: list[str], found: set[str]) -> None:
    lines = headgate_jobs("ls", "--json", *options).stdout.splitlines()
    assert {json.loads(line)["id"] for line in lines} == found


def test_ls_says_when_there_is_nothing_and_when_there_may_be_more() -> None:
    assert headgate_jobs("ls", "--tag", "none").stdout == "No such jobs.\n"
    assert "There may be more: --after" in headgate_jobs("ls", "--most", "1").stdout


def test_show_has_everything() -> None:
    shown = json.loads(headgate_jobs("show", "done", "--json").stdout)
    assert (shown["state"], shown["arguments"], shown["result"]) == ("succeeded", [[7], {}], {"rows": 3})
    text = headgate_jobs("show", "broken").stdout
    assert "ValueError: no such table" in text
    assert "Traceback: here" in text


def test_an_unknown_job_is_an_error_that_says_where_to_look() -> None:
    result = headgate_jobs("show", "nobody")
    assert "There is no job nobody" in str(result.exception)


def test_retry_and_cancel_say_what_became_of_each() -> None:
    assert headgate_jobs("retry", "broken").stdout == "broken queued\n"
    assert headgate_jobs("cancel", "waits").stdout == "waits cancelled\n"


def test_orders_that_do_not_fit_are_told_one_by_one() -> None:
    result = headgate_jobs("cancel", "done", "waits", "nobody")
    assert result.exit_code == 1
    assert result.stdout == "waits cancelled\n"
