"""Loaded by Python itself at the start of a process under test: its wall clock runs beside the true one by as much as
a file says. The monotonic clock is left alone, as it is when an operator or NTP steps the time.
"""

import mmap
import os
import struct
import time

_true = time.time
_DOUBLE = struct.Struct("<d")

with open(os.environ["STEPPED_CLOCK"], "r+b") as _file:
    _beside = mmap.mmap(_file.fileno(), _DOUBLE.size)


def _stepped() -> float:
    (offset,) = _DOUBLE.unpack_from(_beside)
    return _true() + float(offset)


time.time = _stepped
