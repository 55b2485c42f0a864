"""The planted-fault targets as a fixture."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.process import Process
from tests.support.wait import accepts, free_port

HERE = Path(__file__).parent


@pytest.fixture
def target(workdir: Path) -> Iterator[Callable[..., str]]:
    """Start a target with plants: `target(lose=[7])` is its URL."""
    with ExitStack() as stack:

        def start(script: str = "target.py", **plants: Any) -> str:
            port = free_port()
            command = [sys.executable, str(HERE / script), str(port), json.dumps(plants)]
            process = Process(f"target-{port}", command, workdir)
            stack.callback(process.kill)
            process.wait_ready(lambda: accepts(port))
            return f"ws://127.0.0.1:{port}/"

        yield start
