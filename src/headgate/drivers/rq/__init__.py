"""RQ as a carrier: ordinary RQ jobs, run by ordinary `rq worker` processes, each of which runs one Headgate job."""

from __future__ import annotations

from redis import Redis
from rq import Queue

from headgate.drivers.redis.outgoing import Send, Ticket

RUN = "headgate.roles.carried.run_in_rq"
"""What an RQ worker calls."""


def sender(url: str, kept: float) -> Send:
    """What hands tickets to RQ.

    Args:
        url: of the Redis that RQ works on.
        kept: seconds that RQ keeps what became of a ticket.
    """
    connection = Redis.from_url(url, socket_timeout=10)

    def send(ticket: Ticket) -> None:
        # Timeouts, retries and results are Headgate's: RQ must not add its own.
        Queue(ticket.queue, connection=connection).enqueue_call(
            RUN,
            args=(ticket.job,),
            timeout=-1,
            result_ttl=int(kept),
            failure_ttl=int(kept),
            description=f"{ticket.function} ({ticket.job})",
            job_id=ticket.name,
            meta={"headgate_job": ticket.job},
        )

    return send
