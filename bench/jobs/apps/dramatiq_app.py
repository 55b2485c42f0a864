"""The jobs on dramatiq with Redis. QUICK=1: a shorter heartbeat, and maintenance with a tenth of the commands."""

import os
import time

import dramatiq
import lines
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

ASYNC = False
options = {"heartbeat_timeout": 15_000, "maintenance_chance": 100_000} if os.environ.get("QUICK") else {}
broker = RedisBroker(url=os.environ["REDIS_URL"], **options)
broker.add_middleware(Results(backend=RedisBackend(url=os.environ["REDIS_URL"])))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def small(sent, text):
    lines.ran(sent)
    return True


@dramatiq.actor
def crash():
    lines.begun()
    time.sleep(lines.CRASH_SECONDS)


def put(sent, text):
    return small.send(sent, text)


def result(message):
    message.get_result(block=True, timeout=30_000)


def put_crash():
    crash.send()
