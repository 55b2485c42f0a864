"""The built-in clicks as Socket.IO events: `emit("click", {"id": 7})`, answered by its acknowledgement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headgate.simulate.builtin import Clicks
from headgate.simulate.scenario import Action, Reply, User
from headgate.simulate.wire.socketio import Emit, SocketIoMessage


class SocketIoClicks(Clicks):
    """Users that emit events.

    Parameters, besides those of `Clicks` (`light` and `heavy` are the events' names):
        ack: the answer is the event's acknowledgement (true); else it is any event whose first
            argument is an object with the click's id.
    """

    name = "socketio-clicks"

    def __init__(self, params: Mapping[str, Any] | None = None, shared: Any = None) -> None:
        super().__init__(params, shared)
        self._ack = bool(self.params.get("ack", True))

    def act(self, user: User, click_id: int, heavy: bool) -> Action:
        event = self._heavy if heavy else self._light
        data = {self._id_key: click_id, **(self._heavy_extra if heavy else self._extra)}
        return Action(Emit(event, [data], ack=self._ack), name="update" if heavy else "click")

    def read(self, user: User, message: SocketIoMessage) -> Reply | None:
        first = message.args[0] if message.args else None
        if message.kind == "ack":
            data = {**first, self._id_key: message.id} if isinstance(first, dict) else {self._id_key: message.id}
            return self.understand(data)
        if not isinstance(first, dict):
            return None
        if self._ack and first.get("headgate") != "event":
            return None
        return self.understand(first)

    def resume(self, user: User) -> Sequence[Any]:
        return [Emit("follow", [message]) for message in self.follow_again(user)] if self._resume else ()
