"""One HTTP request on its way through an app worker: a task of the lanes, and what its frames make of it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from headgate.gateway.bodies import Body
from headgate.gateway.exchange import Exchange, Task
from headgate.link.messages import Cancel, Chunk, Credit, Fail, Head, Request, Scope, ToWorker
from headgate.link.session import ReceiveWindow

Frame = Head | Chunk | Fail


class Lost(Exception):
    """The app worker died, or its link broke, before the response was complete."""


class Expired(Exception):
    """No slot came free within the lane's age."""


class Gone(Exception):
    """The client went away."""


class TimedOut(Exception):
    """The app did not begin its answer within `request_timeout`."""


class Call(Task):
    """A request.

    The gateway's handler of the request waits in `frame`; frames that it has not fetched are bounded by the
    stream's credit.
    """

    __slots__ = ("_abandoned", "_body", "_failure", "_frames", "_scope", "_waiter", "_window", "exchange", "run")

    def __init__(self, exchange: Exchange, handler: str, scope: Scope, body: Body) -> None:
        super().__init__(handler)
        self.exchange = exchange
        self.run = 0.0
        """Seconds that the handler ran."""
        self._scope = scope
        self._body = body
        self._frames: deque[Frame] | None = None
        self._waiter: asyncio.Future[Frame] | None = None
        self._failure: Exception | None = None
        self._window: ReceiveWindow | None = None
        self._abandoned = False

    def begin(self, send: Callable[[ToWorker], None]) -> None:
        body = self._body
        send(Request(self.stream, self.handler, self._scope, body.data, body.path))

    def take(self, message: Any) -> None:
        last = not (isinstance(message, Head | Chunk) and message.more)
        if last:
            self.run = message.run
            handler = message.handler if not isinstance(message, Chunk) else self.handler
            self.exchange.end(self, handler, message.run, whole=not self._abandoned)
        elif isinstance(message, Head):
            self.handler = message.handler or self.handler
        if not self._abandoned:
            self._deliver(message)

    def lost(self) -> None:
        self._fail(Lost())

    def expired(self) -> None:
        self._fail(Expired())

    @property
    def abandoned(self) -> bool:
        return self._abandoned

    def client_gone(self) -> None:
        """The client went away: nobody reads the answer."""
        self.give_up(Gone())

    def give_up(self, why: Exception) -> None:
        """Stop waiting for the answer; the app worker is told, and keeps its slot until it says that it is done."""
        if self._failure is None:
            self._abandoned = True
            if not self.exchange.cancel(self) and self.link is not None:
                self.link.transport.send(Cancel(self.stream))
            self._fail(why)

    async def frame(self) -> Frame:
        """The next frame of the answer.

        Raises:
            Lost, Expired, Gone, TimedOut: there is none to come.
        """
        if self._frames:
            return self._frames.popleft()
        if self._failure is not None:
            raise self._failure
        waiter: asyncio.Future[Frame]
        self._waiter = waiter = asyncio.get_running_loop().create_future()
        return await waiter

    def let_go(self) -> None:
        """Nobody waits in `frame` any more: forget why there was none, whose traceback refers back to this call."""
        self._waiter = None
        if self._failure is not None:
            self._failure.__traceback__ = None

    def passed(self, amount: int) -> None:
        """So many bytes went on to the client: the app worker may send as many more."""
        if self._window is None:
            self._window = ReceiveWindow()
        credit = self._window.passed(amount)
        if credit and self.link is not None:
            self.link.transport.send(Credit(self.stream, credit))

    def _deliver(self, frame: Frame) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(frame)
            self._waiter = None
        else:
            if self._frames is None:
                self._frames = deque()
            self._frames.append(frame)

    def _fail(self, failure: Exception) -> None:
        self._failure = failure
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_exception(failure)
