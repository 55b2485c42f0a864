"""When each user means to click: the open model, drawn from a seed before any answer is known.

A server that slows down does not slow its users' intentions: the next click's moment never depends
on the last answer. That is what makes a stall visible in the percentiles.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal

from headgate.simulate.stages import Curve, Load

Pace = Literal["poisson", "even"]


def user_rng(seed: int, number: int) -> random.Random:
    """The user's own generator: the same for the same seed, however users are spread over processes."""
    return random.Random(f"{seed}/{number}")


def presence(load: Load, number: int) -> list[tuple[float, float]]:
    """The spans, in seconds since the start, in which user `number` takes part."""
    return load.users.above(number + 0.5)


def intentions(rng: random.Random, rate: Curve, start: float, end: float, pace: Pace) -> Iterator[float]:
    """The moments, in seconds since the start of the run, at which one user means to click.

    A Poisson process whose rate changes is a steady one on the clock of the rate's integral; an
    even pace takes equal steps on that clock, with a random first one.
    """
    area = rate.area(start) + (rng.expovariate(1.0) if pace == "poisson" else rng.random())
    while (moment := rate.when(area)) is not None and moment < end:
        yield moment
        area += rng.expovariate(1.0) if pace == "poisson" else 1.0
