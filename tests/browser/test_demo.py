"""The demonstration in a real browser: live clicks, a job that outlives its page, inline work that stalls nobody."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.chromium import Page
from tests.support.process import Process
from tests.support.wait import free_port, until

ROOT = Path(__file__).resolve().parents[2]
WIDTHS = [1280, 820, 390]


def ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="module")
def demo() -> Iterator[str]:
    """`python -m examples.demo` with 20 users, as `make demo` starts it; its address."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    with tempfile.TemporaryDirectory(prefix="hg-", dir="/tmp") as folder:
        words = ["--port", str(port), "--data", f"{folder}/d", "--users", "20", "--no-browser"]
        server = Process("demo", [sys.executable, "-m", "examples.demo", *words], Path(folder), cwd=ROOT)
        server.wait_ready(lambda: ready(url), 60)
        yield url
        assert server.stop(seconds=60) == 0, server.log()


@pytest.fixture
def desk(demo: str, page: Page) -> Iterator[Page]:
    """The demonstration's page, as a newcomer sees it; it must not have logged an error."""
    page.goto(demo)
    page.evaluate("localStorage.clear()")
    page.reload()
    yield page
    assert page.errors == []


def answers(page: Page) -> int:
    """How many clicks this page has had answered."""
    return int(page.evaluate("Number(document.getElementById('order').dataset.answers ?? 0)"))


def enough_answers(page: Page, before: int, count: int) -> None:
    until(lambda: answers(page) >= before + count, f"{count} more answered clicks", 30, every=0.1)


def bar(page: Page) -> float:
    return float(page.evaluate("document.getElementById('job-bar').value"))


def state(page: Page, kind: str) -> str:
    return str(page.evaluate(f"document.getElementById('{kind}-state').innerText"))


def test_a_click_shows_an_order(desk: Page) -> None:
    desk.click("#auto")  # off: only our own clicks from here on
    before = answers(desk)
    desk.click("#click")
    desk.wait_for(f"Number(document.getElementById('order').dataset.answers ?? 0) > {before}")
    assert "€" in desk.text("#order")


def test_the_page_tells_of_the_users_and_the_processes(desk: Page) -> None:
    desk.wait_for("document.getElementById('user-count').innerText === '20'", 30)
    desk.wait_for("document.getElementById('p99-now').innerText.endsWith('ms')", 30)
    desk.wait_for("document.querySelectorAll('#processes li').length >= 5", 30)
    tiles = desk.text("#processes")
    assert all(name in tiles for name in ("Gateway", "fast lane", "slow lane", "Job worker", "Broker"))


def test_the_job_goes_on_through_a_reload_of_the_page(desk: Page) -> None:
    desk.click("#job")
    desk.wait_for("document.getElementById('job-bar').value > 0", 60)
    seen = bar(desk)
    desk.reload()
    assert state(desk, "job") != "not started"
    desk.wait_for(f"document.getElementById('job-bar').value >= {seen}", 60)
    enough_answers(desk, answers(desk), 3)
    desk.wait_for("document.getElementById('job-state').innerText.startsWith('done')", 90)
    assert state(desk, "job") == "done: 200,000 orders repriced"
    assert desk.evaluate("localStorage.length") == 0, "a finished job is not followed again"
    assert desk.evaluate("document.getElementById('job').disabled") is False


def test_a_job_that_is_not_there_any_more_is_told(desk: Page) -> None:
    job = json.dumps({"stream": f"jobs/{'0' * 32}", "offset": "0" * 16, "token": "of.no.use"})
    desk.evaluate(f"localStorage.setItem('order-desk-job', {json.dumps(job)})")
    desk.reload()
    desk.wait_for("document.getElementById('job-state').innerText.startsWith('gone')", 30)
    assert desk.evaluate("localStorage.length") == 0
    assert desk.evaluate("document.getElementById('job').disabled") is False


def test_inline_work_holds_nobody_up(desk: Page) -> None:
    before = answers(desk)
    desk.click("#inline")
    desk.wait_for("document.getElementById('inline-state').innerText === 'the handler is blocked'")
    during = answers(desk)
    enough_answers(desk, during, 5)
    assert state(desk, "inline") == "the handler is blocked", "five clicks are answered while the handler blocks"
    assert during >= before
    desk.wait_for("document.getElementById('inline-state').innerText.startsWith('done')", 90)
    assert state(desk, "inline") == "done: 200,000 orders repriced"


def pid_of(page: Page, kind: str) -> int:
    """The process id on the first tile of a kind, the working one first: what the page invites to kill."""
    tile = f"(document.querySelector('#processes .{kind}.working') ?? document.querySelector('#processes .{kind}'))"
    return int(page.evaluate(f"{tile}.querySelector('code').innerText").removeprefix("pid "))


@pytest.mark.parametrize("kind", ["broker", "gateway", "jobs"])
def test_the_job_ends_whatever_is_killed_meanwhile(desk: Page, kind: str) -> None:
    desk.click("#job")
    desk.wait_for("document.getElementById('job-bar').value > 0.05", 60)
    desk.wait_for("document.querySelector('#processes .jobs.working') !== null", 30)
    os.kill(victim := pid_of(desk, kind), signal.SIGKILL)
    desk.wait_for("document.getElementById('job-state').innerText.startsWith('done')", 100)
    assert state(desk, "job") == "done: 200,000 orders repriced"
    enough_answers(desk, answers(desk), 3)
    desk.wait_for(f"!document.getElementById('processes').innerText.includes('pid {victim}')", 30)
    desk.errors[:] = [error for error in desk.errors if "WebSocket connection" not in error]


def test_the_bar_goes_on_after_a_closed_lid_and_a_gateways_restart(demo: str, desk: Page) -> None:
    desk.click("#job")
    desk.wait_for("document.getElementById('job-bar').value > 0.05", 60)
    desk.wait_for("document.querySelector('#processes .gateway') !== null", 30)
    victim, seen = pid_of(desk, "gateway"), bar(desk)
    desk.call("Page.setWebLifecycleState", state="frozen")  # the lid: no script runs, no event is heard
    os.kill(victim, signal.SIGKILL)
    until(lambda: ready(demo), "the gateway serves again", 30)
    desk.call("Page.setWebLifecycleState", state="active")
    desk.wait_for(f"document.getElementById('job-bar').value > {seen}", 60)
    desk.wait_for("document.getElementById('job-state').innerText.startsWith('done')", 100)
    assert state(desk, "job") == "done: 200,000 orders repriced"
    before = answers(desk)  # a page that was frozen counts as hidden, and does not click by itself
    desk.click("#click")
    enough_answers(desk, before, 1)
    desk.errors[:] = [error for error in desk.errors if "WebSocket connection" not in error]


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_sticks_out_at_the_side(desk: Page, width: int) -> None:
    desk.size(width, 800)
    desk.wait_for(f"innerWidth === {width}")
    assert desk.evaluate("document.documentElement.scrollWidth") <= width
