"""What is laid around every job: an onion of calls, the order visible and exceptions travelling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

Layer = Callable[[Any, Callable[[], Any]], Any]
"""`layer(job, call)` returns what `call()` does, or something else, or raises."""


def onion(layers: Sequence[Layer]) -> Layer:
    """All layers as one, the first the outermost."""

    def around(job: Any, call: Callable[[], Any]) -> Any:
        for layer in reversed(layers):
            call = partial(layer, job, call)
        return call()

    return around
