"""What can go wrong with a simulation, and the exit code that each kind has.

SimulateError
 ├─ BadInput         an option, a stage, an SLO or a scenario file cannot be understood      exit 2
 ├─ TargetError      the target cannot be reached, or refuses the handshake                  exit 4
 └─ ScenarioError    the scenario's own code raised                                          exit 5
"""

from __future__ import annotations

from enum import IntEnum

from headgate.base.errors import HeadgateError


class ExitCode(IntEnum):
    """The exit codes of `headgate simulate`; the docs list them in `docs/reference/simulate.md`."""

    PASSED = 0
    FAILED = 1
    BAD_INPUT = 2
    INVALID = 3
    TARGET = 4
    SCENARIO = 5
    INTERRUPTED = 130


class SimulateError(HeadgateError):
    """The base of a simulation's errors."""

    exit_code = ExitCode.FAILED


class BadInput(SimulateError):
    """An option, a stage, an SLO or a scenario file cannot be understood; nothing was started."""

    exit_code = ExitCode.BAD_INPUT


class TargetError(SimulateError):
    """The target cannot be reached, or does not speak what its URL says."""

    exit_code = ExitCode.TARGET


class ScenarioError(SimulateError):
    """The scenario's own code raised; the message carries its traceback."""

    exit_code = ExitCode.SCENARIO


class ScenarioStopped(Exception):
    """A hook of the scenario raised and the run is ending; this only unwinds the code that called it."""
