"""An engine within this process that keeps nothing: for tests, ours and those of apps."""

from headgate.drivers.memory.engine import MemoryEngine

__all__ = ["MemoryEngine"]
