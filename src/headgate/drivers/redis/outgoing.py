"""Sending tickets: a job that RQ or Celery is to run waits here, and a ticket there says so.

The job is in our engine alone; the ticket carries its id. So a ticket may be lost or sent twice without harm: one that
finds its job claimed, cancelled or done does nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from headgate.base.errors import HeadgateError

log = logging.getLogger(__name__)

CHANNEL: Final = ">o:"
"""The channel under it says that a carrier has tickets to be sent."""
AT_ONCE: Final = 100
"""Tickets sent together."""
HOLD: Final = 10.0
"""Seconds after which a ticket is taken for lost the first time; a worker that is killed while it holds tickets that it
has not begun loses them in silence. Then it is taken for lost after twice as long, and so on."""
REFUSED: Final = 5.0
"""Seconds after which a ticket that its carrier did not take is due again. Those behind it are due before it."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a carrier is given for one job."""

    job: str
    queue: str
    function: str
    name: str
    """Of this ticket: the job's id for its first one, and never the same twice."""


Send = Callable[[Ticket], None]
"""Hands a ticket to a carrier; blocks. Raises whatever keeps it from doing so: it is sent again soon."""


class Sender:
    """Sends the tickets of one carrier.

    Args:
        carrier: its name.
        run: runs an operation of the scripts.
        send: hands one over.
    """

    def __init__(self, carrier: str, run: Callable[..., Awaitable[Any]], send: Send) -> None:
        self._carrier = carrier
        self._run = run
        self._send = send
        self._again = False
        self._trouble = ""
        """Why the last ticket could not be sent."""
        self._task: asyncio.Task[None] | None = None

    def look(self) -> None:
        """There may be something to send."""
        self._again = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _work(self) -> None:
        while self._again:
            self._again = False
            try:
                flat = await self._run("outgoing", [self._carrier, AT_ONCE, HOLD])
            except HeadgateError as exc:
                log.warning("tickets for %s have to wait: %s", self._carrier, exc)
                return
            rows = zip(*(flat[part::5] for part in range(5)), strict=True)
            tickets = [
                Ticket(job.decode(), queue.decode(), function.decode(), _name(job.decode(), int(epoch), number))
                for job, queue, function, epoch, number in rows
            ]
            unsent = await asyncio.to_thread(self._hand_over, tickets) if tickets else []
            if unsent:
                await self._give_back(unsent)
                return
            self._again = self._again or len(tickets) == AT_ONCE

    def _hand_over(self, tickets: Sequence[Ticket]) -> Sequence[Ticket]:
        """Send tickets, in a thread; returns those that were not sent, first the one that failed."""
        for at, ticket in enumerate(tickets):
            try:
                self._send(ticket)
            except Exception as exc:  # whatever a carrier's library raises
                self._say(len(tickets) - at, str(exc) or type(exc).__name__)
                return tickets[at:]
        self._trouble = ""
        return []

    def _say(self, count: int, trouble: str) -> None:
        level = logging.DEBUG if trouble == self._trouble else logging.ERROR
        log.log(level, "%d jobs cannot be handed to %s: %s; it is tried again", count, self._carrier, trouble)
        self._trouble = trouble

    async def _give_back(self, unsent: Sequence[Ticket]) -> None:
        try:
            await self._run("unsent", [self._carrier, REFUSED, [ticket.job for ticket in unsent]], repeat=False)
        except HeadgateError as exc:
            log.warning("tickets for %s have to wait as if they had been sent: %s", self._carrier, exc)


def _name(job: str, epoch: int, number: int) -> str:
    return job if epoch == 0 and number == 1 else f"{job}-{epoch}-{number}"
