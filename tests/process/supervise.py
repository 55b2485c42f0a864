"""Runs a supervisor with stand-ins as its roles: `python supervise.py DATA SETTINGS-AS-JSON`."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from headgate.config.settings import Settings
from headgate.supervisor import logs
from headgate.supervisor.loop import Supervisor

STAND_IN = Path(__file__).with_name("standin.py")


def main() -> None:
    settings = msgspec.json.decode(sys.argv[1], type=Settings)
    logs.set_up("supervisor", "info")
    finish = Supervisor(settings, command=lambda role: [sys.executable, str(STAND_IN)]).run()
    if finish.failure is not None:
        sys.stdout.write(f"failure: {finish.failure.message}\n{finish.failure.traceback}\n")
    sys.exit(finish.code)


if __name__ == "__main__":
    main()
