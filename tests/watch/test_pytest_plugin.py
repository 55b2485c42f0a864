"""The pytest plugin as its users meet it: in a run of pytest of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from headgate.watch.blocking import LoopBlocked, no_blocking

SUITE = """
import asyncio, time
import pytest

def slow():
    time.sleep(0.4)

def tiny():
    time.sleep(0.002)

def run(function):
    async def main():
        await asyncio.sleep(0.01)
        function()
        await asyncio.sleep(0.01)
    asyncio.run(main())

def test_blocks():
    run(slow)

@pytest.mark.allow_block(reason="a known one, see the tracker")
def test_may():
    run(slow)

def test_naps():
    run(tiny)

def test_clean():
    run(lambda: sum(range(1000)))
"""


def run(folder: Path, *flags: str, ini: str = "") -> tuple[str, dict[str, str]]:
    """Run the suite; returns what was printed, and each test's outcome."""
    (folder / "test_suite.py").write_text(SUITE)
    (folder / "pytest.ini").write_text(f"[pytest]\n{ini}")
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", "no:xdist", *flags]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    words = [line.split() for line in done.stdout.splitlines() if line.startswith("test_suite.py::")]
    return done.stdout + done.stderr, {parts[0].partition("::")[2]: parts[1] for parts in words}


def test_the_test_that_blocks_fails_with_the_place(tmp_path: Path) -> None:
    text, outcomes = run(tmp_path, "--fail-on-block=300ms")
    assert outcomes == {"test_blocks": "FAILED", "test_may": "PASSED", "test_naps": "PASSED", "test_clean": "PASSED"}
    assert "time.sleep blocked the asyncio loop for" in text
    assert "test_suite.py:6 in slow" in text
    assert "    time.sleep(0.4)" in text


def test_any_sleep_in_a_turn_fails_however_short(tmp_path: Path) -> None:
    text, outcomes = run(tmp_path, "--fail-on-block=any")
    assert outcomes == {"test_blocks": "FAILED", "test_may": "PASSED", "test_naps": "FAILED", "test_clean": "PASSED"}
    assert "test_suite.py:9 in tiny" in text


def test_without_the_option_nothing_is_imported_and_nothing_fails(tmp_path: Path) -> None:
    probe = tmp_path / "test_loaded.py"
    probe.write_text(
        "import sys\ndef test_loaded():\n"
        "    ours = {name for name in sys.modules if name.startswith('headgate')}\n"
        "    assert ours == {'headgate', 'headgate.watch', 'headgate.watch.pytest_plugin'}\n"
    )
    text, outcomes = run(tmp_path)
    assert set(outcomes.values()) == {"PASSED"}, text
    assert "1 failed" not in text


def test_the_allow_list_wants_reasons(tmp_path: Path) -> None:
    text, outcomes = run(tmp_path, "--fail-on-block=300ms", ini="block_allow =\n  *::slow: the legacy client\n")
    assert set(outcomes.values()) == {"PASSED"}, text
    text, _ = run(tmp_path, "--fail-on-block=300ms", ini="block_allow =\n  slow\n")
    assert "gives no reason" in text


def test_a_baseline_lets_known_places_pass_and_new_ones_fail(tmp_path: Path) -> None:
    flags = ("--fail-on-block=300ms", "--block-baseline=known.json")
    text, outcomes = run(tmp_path, *flags, "--update-block-baseline")
    assert set(outcomes.values()) == {"PASSED"}, text
    known = json.loads((tmp_path / "known.json").read_text())
    assert known["places"] == [{"file": "test_suite.py", "function": "slow", "call": "time.sleep"}]
    assert set(run(tmp_path, *flags)[1].values()) == {"PASSED"}
    (tmp_path / "known.json").write_text('{"version": 1, "places": []}')
    assert run(tmp_path, *flags)[1]["test_blocks"] == "FAILED"


CONTEXT = """
import asyncio, sys, time
from headgate.watch.blocking import LoopBlocked, no_blocking

async def main():
    try:
        with no_blocking(0.2):
            await asyncio.sleep(0.05)
            time.sleep(0.5)
            await asyncio.sleep(0.05)
    except LoopBlocked as exc:
        print("blocked:", exc)
    with no_blocking(0.2) as stalls:
        await asyncio.sleep(0.3)
    print("then:", len(stalls))

asyncio.run(main())
"""


def test_the_context_manager_raises_with_the_place_inside_a_running_loop(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(CONTEXT)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert "blocked: time.sleep blocked the asyncio loop" in done.stdout, done.stderr
    assert f"{script}:9 in main" in done.stdout
    assert "then: 0" in done.stdout


def test_its_error_is_an_assertion() -> None:
    assert issubclass(LoopBlocked, AssertionError)
    with no_blocking(), pytest.raises(ZeroDivisionError):
        raise ZeroDivisionError
