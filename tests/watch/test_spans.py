"""Where a service traces, a stall is an event of the span that it happened in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SERVICE = """
import asyncio, time
from opentelemetry import context, trace
from headgate.watch.install import install
from headgate.watch.process import Options

class Span(trace.NonRecordingSpan):
    def is_recording(self):
        return True
    def add_event(self, name, attributes=None, timestamp=None):
        print(name, attributes["headgate.stall.call"], attributes["code.function.name"], flush=True)

def pay():
    time.sleep(0.5)

async def handler():
    context.attach(trace.set_span_in_context(Span(trace.INVALID_SPAN_CONTEXT)))
    await asyncio.sleep(0.05)
    pay()

async def main():
    await asyncio.create_task(handler())
    await asyncio.sleep(0.3)

install(Options(log=None))
asyncio.run(main())
"""


def test_the_span_of_the_callback_that_blocked_gets_the_event(tmp_path: Path) -> None:
    script = tmp_path / "service.py"
    script.write_text(SERVICE)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == ["headgate.stall time.sleep pay"], done.stderr
