"""The jobs on RQ. RETRY=1 enqueues with `Retry`, as its documentation says for jobs that must not be lost."""

import os
import time

import lines
from redis import Redis
from rq import Queue, Retry
from rq.results import Result

ASYNC = False
connection = Redis.from_url(os.environ["REDIS_URL"])
queue = Queue("default", connection=connection)
options = {"retry": Retry(max=3)} if os.environ.get("RETRY") else {}


def small(sent, text):
    lines.ran(sent)


def crash():
    lines.begun()
    time.sleep(lines.CRASH_SECONDS)


def put(sent, text):
    return queue.enqueue(small, sent, text, **options)


def result(job):
    # the blocking way to wait for a result that the documentation gives
    found = job.latest_result(timeout=30)
    assert found is not None
    assert found.type == Result.Type.SUCCESSFUL


def put_crash():
    queue.enqueue(crash, **options)
