"""The measured jobs: one tells when its first line ran, the other waits in a queue that nobody serves."""

from __future__ import annotations

import time

from flask import Flask

from headgate import Headgate

app = Flask(__name__)
gate = Headgate(app)


@gate.job(queue="served")
def first_line(sent: float) -> float:
    """Seconds between the call of `enqueue` and this line, on one machine's clock."""
    return time.time() - sent


@gate.job(queue="parked")
def parked(number: int, text: str) -> None:
    """Never run here: what is measured is accepting it."""


@gate.job(queue="served")
def nothing() -> None:
    """What is measured is all that is around it."""
