"""The jobs on huey with Redis. NOTIFY=1: results are announced, so that who waits need not poll."""

import os
import time

import lines
from huey import RedisHuey

ASYNC = False
huey = RedisHuey("jobs", url=os.environ["REDIS_URL"], notify_result=bool(os.environ.get("NOTIFY")))


@huey.task(retries=3 if os.environ.get("NOTIFY") else 0)
def small(sent, text):
    lines.ran(sent)
    return True


@huey.task(retries=3 if os.environ.get("NOTIFY") else 0)
def crash():
    lines.begun()
    time.sleep(lines.CRASH_SECONDS)
    return True


def put(sent, text):
    return small(sent, text)


def result(handle):
    handle.get(blocking=True, timeout=30)


def put_crash():
    crash()
