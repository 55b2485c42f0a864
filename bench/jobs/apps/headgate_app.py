"""The jobs on Headgate's embedded engine."""

import time

import lines
from flask import Flask

from headgate import Headgate

ASYNC = False
app = Flask(__name__)
gate = Headgate(app)


@gate.job(queue="parked")
def parked(sent: float, text: str) -> None:
    """Never run: enqueueing it is measured."""


@gate.job(queue="served")
def small(sent: float, text: str) -> None:
    lines.ran(sent)


@gate.job(queue="served")
def crash() -> None:
    lines.begun()
    time.sleep(lines.CRASH_SECONDS)


def park(sent, text):
    parked.enqueue(sent, text)


def put(sent, text):
    return small.enqueue(sent, text)


def result(handle):
    handle.wait(timeout=30)


def put_crash():
    crash.enqueue()
