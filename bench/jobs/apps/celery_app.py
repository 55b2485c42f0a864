"""The jobs on Celery with Redis as broker and result backend.

LATE=1: the settings of its documentation for tasks that must survive their worker (acks_late,
reject_on_worker_lost, a prefetch multiplier of 1). FAST=1: those for many short tasks (a high multiplier).
"""

import os
import time

import lines
from celery import Celery

ASYNC = False
app = Celery("celery_app", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.broker_connection_retry_on_startup = True
if os.environ.get("LATE"):
    app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True, worker_prefetch_multiplier=1)
if os.environ.get("FAST"):
    app.conf.update(worker_prefetch_multiplier=128)


@app.task
def small(sent, text):
    lines.ran(sent)


@app.task
def crash():
    lines.begun()
    time.sleep(lines.CRASH_SECONDS)


def put(sent, text):
    return small.delay(sent, text)


def result(handle):
    handle.get(timeout=30)


def put_crash():
    crash.delay()
