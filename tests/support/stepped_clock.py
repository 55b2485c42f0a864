"""A wall clock that a test steps while real processes go by it."""

from __future__ import annotations

import struct
from pathlib import Path

_DOUBLE = struct.Struct("<d")


class SteppedClock:
    """The wall clock of the processes that are started with `wrap`.

    Args:
        folder: the test's own.
    """

    def __init__(self, folder: Path) -> None:
        self.offset = 0.0
        self._path = folder / "clock"
        self._path.write_bytes(_DOUBLE.pack(0.0))
        customs = Path(__file__).parent / "stepped"
        self.wrap = ("env", f"PYTHONPATH={customs}", f"STEPPED_CLOCK={self._path}")

    def step(self, seconds: float) -> None:
        """Step it, forward or back."""
        self.offset += seconds
        with self._path.open("r+b") as file:
            file.write(_DOUBLE.pack(self.offset))
