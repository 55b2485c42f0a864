"""A worker of RQ or Celery as a child of ours: `python -m headgate.roles.leashed READY AT_ONCE TOOL ARGUMENTS…`.

It is the ordinary worker, `rq worker …` or `celery … worker …`, that says when it serves and does not outlive us:
when the pipe that is its standard input ends, it is told to finish its jobs and go, and a little later by the signal
AT_ONCE to leave them. (A pipe rather than the kernel's parent-death signal: it works on every system.)
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time
from typing import Final

GRACE: Final = 5.0
"""Seconds for the jobs of a worker that nobody supervises any more; what is not done is run again by its lease."""
MODULES: Final = {"rq": "rq.cli", "celery": "celery"}


def main() -> None:
    """Run the tool in this process; does not return."""
    ready, at_once, tool = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    leash = os.dup(0)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    threading.Thread(target=_hold, args=(leash, at_once), name="headgate-leash", daemon=True).start()
    sys.path[:0] = [os.getcwd()] if os.getcwd() not in sys.path else []
    sys.argv = [tool, *sys.argv[4:]]
    if tool == "celery":
        from celery.signals import worker_ready

        worker_ready.connect(lambda **_: tell(ready), weak=False)
    else:
        from headgate.roles import rq_worker

        rq_worker.serves = lambda: tell(ready)
    runpy.run_module(MODULES[tool], run_name="__main__")


def _hold(leash: int, at_once: int) -> None:
    while os.read(leash, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os.kill(os.getpid(), at_once)


def tell(ready: int) -> None:
    """Say to the process that started this one that it serves."""
    os.write(ready, b"1")
    os.close(ready)


if __name__ == "__main__":
    main()
