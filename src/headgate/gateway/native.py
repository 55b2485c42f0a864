"""Native sockets: each message is a task of its own, and the gateway keeps all that lies between them.

Messages of one connection run one at a time and in order, unless the socket was declared `concurrent`. A worker
that dies takes nothing along but the message it was at.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec

from headgate.base.errors import Full
from headgate.gateway import resume
from headgate.gateway.connection import Connection, Shared
from headgate.gateway.exchange import Task
from headgate.link.messages import Accept, Answer, Fail, Message, Scope, ToWorker

log = logging.getLogger("headgate.gateway")

AT_ONCE: Final = 16
"""Messages of one `concurrent` connection that are handled at the same time."""

Waiting = str | bytes | tuple[int, str]
"""A message, or the end of the connection: its code and reason."""


class MessageTask(Task):
    """One message, or the end, of a native socket."""

    __slots__ = ("_connection", "_what")

    def __init__(self, connection: NativeConnection, handler: str, what: Waiting) -> None:
        super().__init__(handler)
        self._connection = connection
        self._what = what

    def begin(self, send: Callable[[ToWorker], None]) -> None:
        connection, what = self._connection, self._what
        scope = cast(Scope, connection.scope)  # encoded once, at the handshake
        state = connection.state or {}
        if isinstance(what, tuple):
            send(Message(self.stream, connection.id, self.handler, "disconnect", scope, state, None, *what))
        else:
            send(Message(self.stream, connection.id, self.handler, "message", scope, state, what))

    def take(self, message: Any) -> None:
        connection = self._connection
        if isinstance(message, Answer):
            connection.answered(message)
        elif isinstance(message, Fail):
            self._refuse("internal", error_id=message.error_id)
        else:
            return
        connection.sockets.exchange.end(self, self.handler, message.run)
        connection.done()

    def lost(self) -> None:
        self._refuse("worker_lost")
        self._connection.done()

    def expired(self) -> None:
        self._refuse("busy", retry_after=2)
        self._connection.done()

    def _refuse(self, error: str, **more: Any) -> None:
        if not isinstance(self._what, tuple):
            self._connection.refuse(self._what, error, **more)


class NativeConnection(Connection):
    """An open native socket."""

    __slots__ = ("_busy", "_concurrent", "_handler", "_inbox", "_over", "_peek", "_wants_end", "resumes", "state")

    def __init__(self, sockets: Shared, id: str, scope: msgspec.Raw, accepted: Accept) -> None:
        super().__init__(sockets, id, scope)
        options = accepted.options
        self.state: dict[str, Any] | None = accepted.state or None
        self._handler = accepted.handler
        self._peek = sockets.peek(options.get("event_field"))
        self._concurrent = bool(options.get("concurrent"))
        self._wants_end = bool(options.get("disconnect", True))
        self._inbox: deque[Waiting] | None = None
        self._busy = 0
        self._over = False
        self.resumes = False
        """The client knows how to come back, and is told by which token."""

    def message(self, data: str | bytes) -> None:
        wait = self._bucket.take(self.sockets.now()) if self._bucket is not None else 0.0
        if wait:
            self.sockets.limited["message_rate"] += 1
            self.refuse(data, "too_fast", retry_after=round(wait, 3))
            return
        if isinstance(data, str) and data.startswith(resume.OURS):
            resume.take(self, self.sockets.capabilities, data)
            return
        inbox = self._inbox
        if inbox is None:
            inbox = self._inbox = deque()
        if len(inbox) >= self.sockets.inbox:
            self.sockets.limited["inbox"] += 1
            self.refuse(data, "busy", retry_after=1)
            return
        inbox.append(data)
        self._pump()
        if len(inbox) >= self.sockets.inbox:
            self.wire.pause()

    def announce(self, stream: str) -> None:
        if self.resumes and self.sockets.capabilities is not None:
            token = self.sockets.capabilities.sign(stream)
            self.json({"headgate": "following", "stream": stream, "token": token})

    def announce_all(self) -> None:
        """It has just said that it can come back: tell it of what it was made to follow before."""
        for stream in self._follows or ():
            self.announce(stream)

    def answered(self, answer: Answer) -> None:
        """The handler is done: its state, effects and answer."""
        if answer.state is not None:
            self.state = answer.state or None
        if self.wire.open:
            if answer.effects:
                self.apply(answer.effects)
            if answer.data is not None:
                self.send(answer.data)
            elif answer.error_id is not None:
                self.json({"headgate": "error", "error": "internal", "error_id": answer.error_id})

    def done(self) -> None:
        """A message's task has ended, one way or the other."""
        self._busy -= 1
        self._pump()

    def refuse(self, message: str | bytes, error: str, **more: Any) -> None:
        """Answer a message that was not handled."""
        content = {"headgate": "error", "id": self._peek.id(message), "error": error, **more}
        if content["id"] is None:
            del content["id"]
        self.json(content)

    def keep_state(self, state: dict[str, Any]) -> None:
        self.state = state or None

    def over(self, code: int, reason: str) -> None:
        self._over = True
        if self._wants_end:
            self._inbox = self._inbox if self._inbox is not None else deque()
            self._inbox.append((code, reason))
        self._pump()

    def _pump(self) -> None:
        """Start what may start; messages that came before the end of the connection are handled before it."""
        inbox = self._inbox
        limit = AT_ONCE if self._concurrent else 1
        while inbox and self._busy < limit and not (isinstance(inbox[0], tuple) and self._busy):
            self._start(inbox.popleft())
        if not inbox:
            self._inbox = None
            if self._over and not self._busy:
                self.sockets.forget(self)
        if not self.wire.reading and len(inbox or ()) <= self.sockets.inbox // 2:
            self.wire.resume()

    def _start(self, what: Waiting) -> None:
        event = "disconnect" if isinstance(what, tuple) else self._peek.event(what) or "message"
        self._busy += 1
        try:
            self.sockets.exchange.submit(MessageTask(self, f"{self._handler}:{event}", what))
        except Full as exc:
            self._busy -= 1
            if isinstance(what, tuple):
                log.warning("the disconnect handler of %s was not run: %s", self._handler, exc)
            else:
                self.refuse(what, "busy", retry_after=exc.retry_after)
