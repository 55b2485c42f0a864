"""The simulator from Python: what benchmarks and tests use.

from headgate.simulate import api

report = api.run("ws://127.0.0.1:8000/updates", users=300, rate="50/s", heavy=0.05, seconds=30)
report.p99("click")            # seconds, from the intended click to its answer
report.p99("update.result")    # … to the result of its job
report.lost, report.valid, report.exit_code
report.write_json("run.json")
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from typing import Any

from headgate.simulate.companion import find_companion
from headgate.simulate.conduct import Conductor
from headgate.simulate.orders import Pulse
from headgate.simulate.plan import Options, Plan, make_plan
from headgate.simulate.report import Report, read_report
from headgate.simulate.stages import Stage

__all__ = ["Options", "Report", "Stage", "read_report", "run", "run_async", "run_plan"]


def run(target: str, **options: Any) -> Report:
    """Simulate users on a target and wait for the report.

    Args:
        target: the URL; a scheme `ws`, `wss`, `http` or `https`.
        options: the fields of `Options`; what is not given is the scenario's own.

    Returns:
        the report, also when the target, the scenario or Ctrl-C cut the run short: see
        `Report.problem` and `Report.exit_code`.

    Raises:
        BadInput: an option makes no sense; nothing was started.
        ScenarioError: the scenario cannot be loaded.
    """
    return run_plan(make_plan(Options(target, **options)))


async def run_async(target: str, **options: Any) -> Report:
    """The same as `run`, within an event loop that is already running."""
    plan = make_plan(Options(target, **options))
    return await Conductor(plan, await find_companion(plan)).run()


def run_plan(
    plan: Plan,
    on_pulse: Callable[[Pulse], None] | None = None,
    on_stderr: Callable[[str], None] | None = None,
) -> Report:
    """Run a checked plan. Ctrl-C, in the main thread, ends it early with a partial report.

    Args:
        on_pulse: told twice a second, by each generator process, how it goes.
        on_stderr: given, at the end, what the scenario wrote to stderr.
    """

    async def conducted() -> Report:
        conductor = Conductor(plan, await find_companion(plan), on_pulse)
        loop = asyncio.get_running_loop()
        in_main = threading.current_thread() is threading.main_thread()
        if in_main:
            loop.add_signal_handler(signal.SIGINT, conductor.interrupt)
            loop.add_signal_handler(signal.SIGTERM, conductor.interrupt)
        try:
            return await conductor.run()
        finally:
            if in_main:
                loop.remove_signal_handler(signal.SIGINT)
                loop.remove_signal_handler(signal.SIGTERM)
            if on_stderr is not None and conductor.stderr:
                on_stderr(conductor.stderr)

    return asyncio.run(conducted())
