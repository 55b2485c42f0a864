"""Loop sockets: a handler that holds its connection in a loop of `receive` and `send`, on a thread of its own.

`LoopConnection` is what the loop's library (see `flask_sock`) is given instead of a network socket. The thread
waits in `receive`; the link's loop feeds it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from headgate.apps import stamps
from headgate.apps.events import EventOf
from headgate.apps.exchange import ClientGone, Exchange
from headgate.apps.turns import Slot, TurnGate
from headgate.link.messages import Accept, Consumed, Hangup, Scope

ABNORMAL: Final = 1006
GOING_AWAY: Final = 1001
RESTART: Final = 1012


class LoopPolicy:
    """What all loops of an app worker share.

    Args:
        gate: for turns that are not known to be fast.
        event_of: finds the event of a message.
        is_fast: whether a turn's handler is proven fast.
        timed: takes (handler, seconds) of each turn.
        consumed_step: messages after which the gateway is told that they were taken.
        clock: seconds.
    """

    def __init__(
        self,
        gate: TurnGate,
        event_of: EventOf,
        is_fast: Callable[[str], bool],
        timed: Callable[[Exchange, str, float], None],
        consumed_step: int = 16,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.gate = gate
        self.event_of = event_of
        self.is_fast = is_fast
        self.timed = timed
        self.consumed_step = consumed_step
        self.clock = clock


class LoopConnection:
    """One loop socket as its handler's thread sees it.

    Args:
        exchange: its stream.
        scope: the handshake.
        name: the first part of its turns' names, as `loop /ws`.
        policy: shared by all loops.
    """

    def __init__(self, exchange: Exchange, scope: Scope, name: str, policy: LoopPolicy) -> None:
        self.exchange = exchange
        self.scope = scope
        self.subprotocol: str | None = None
        self.accepted = False
        self.code: int | None = None
        """The close code, once the connection has ended; None while it is open."""
        self.reason = ""
        self._name = name
        self._policy = policy
        self._inbox: deque[str | bytes] = deque()
        self._wake = threading.Lock()
        self._wake.acquire()
        self._taken = 0
        self._turn: str | None = None
        self._since = policy.clock()
        self._slot: Slot | None = None
        exchange.on_cancel = self._cancelled

    @property
    def open(self) -> bool:
        return self.accepted and self.code is None

    # on the handler's thread

    def accept(self, subprotocol: str | None = None) -> None:
        """Complete the handshake."""
        if self.exchange.cancelled:
            raise ClientGone("the client went away during the handshake")
        self.accepted = True
        self.subprotocol = subprotocol
        run = self._policy.clock() - self._since
        self.exchange.link.send(
            Accept(self.exchange.stream, False, self.exchange.handler, subprotocol, [], {}, {}, [], run)
        )

    def receive(self, timeout: float | None = None) -> str | bytes | None:
        """The next message; None when none came in `timeout` seconds, or when the connection has ended.

        The end of a turn, and once the message is allowed to run, the beginning of the next.
        """
        self._end_turn()
        if not self._inbox and not self._wait(timeout):
            return None
        message = self._inbox.popleft()
        self._taken += 1
        if self._taken >= self._policy.consumed_step:
            self.exchange.link.send(Consumed(self.exchange.stream, self._taken))
            self._taken = 0
        self._begin_turn(message)
        return message

    def send(self, data: str | bytes) -> None:
        """Send a message, waiting while the client is slow. Raises `ClientGone`."""
        if self.code is not None:
            raise ClientGone("the connection has ended")
        self.exchange.push(data)

    def hang_up(self, code: int = 1000, reason: str = "") -> None:
        """End the connection; the second time does nothing."""
        self._end_turn()
        if self.exchange.link.finished(self.exchange.stream) and self.accepted:
            self.exchange.link.send(Hangup(self.exchange.stream, code, reason))
        self._ended(code, reason)

    # on the link's loop

    def feed(self, data: str | bytes) -> None:
        """A message of the client."""
        self._inbox.append(data)
        self._rouse()

    def closed(self, code: int, reason: str) -> None:
        """The client is gone."""
        self._ended(code, reason)
        self.exchange.cancel()

    def stop(self) -> None:
        """The worker ends: so does the connection, in a way that tells the client to come back."""
        self.hang_up_soon(RESTART, "the server restarts; connect again")

    def hang_up_soon(self, code: int, reason: str) -> None:
        """End the connection from the loop, without touching the handler's turn."""
        if self.exchange.link.finished(self.exchange.stream) and self.accepted:
            self.exchange.link.send(Hangup(self.exchange.stream, code, reason))
        self.closed(code, reason)

    def _cancelled(self) -> None:
        self._ended(ABNORMAL, "the link to the gateway was lost")

    def _ended(self, code: int, reason: str) -> None:
        if self.code is None:
            self.code, self.reason = code, reason
        self._rouse()

    def _rouse(self) -> None:
        if self._wake.locked():
            try:
                self._wake.release()
            except RuntimeError:  # two ends at once: the other one has done it
                return

    def _wait(self, timeout: float | None) -> bool:
        """Wait for a message; False if there is none."""
        until = None if timeout is None else self._policy.clock() + timeout
        while not self._inbox:
            if self.code is not None:
                return False
            left = -1.0 if until is None else until - self._policy.clock()
            if until is not None and left <= 0:
                return False
            self._wake.acquire(timeout=left)
        return True

    def _begin_turn(self, message: str | bytes) -> None:
        policy = self._policy
        event = policy.event_of(message)
        name = self._name if event is None else f"{self._name}:{event}"
        if not policy.is_fast(name):
            self._slot = policy.gate.enter()
        self._turn = name
        self._since = policy.clock()
        stamps.begin(name)

    def _end_turn(self) -> None:
        turn, slot = self._turn, self._slot
        if turn is None:
            return
        self._turn = self._slot = None
        stamps.end()
        if slot is not None:
            self._policy.gate.leave(slot)
        self._policy.timed(self.exchange, turn, self._policy.clock() - self._since)


ENVIRON_KEY: Final = "headgate.websocket"
"""Where a loop's library finds its `LoopConnection` in the environ."""
