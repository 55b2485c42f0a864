"""The story's users: the simulator's own clicks, with those told apart that their own update holds back.

One connection's messages are handled in order, on every server that runs the original's blocking loop. A user who
clicks while their own update runs waits for it wherever the service is hosted; that is the app's doing, not the
server's, and is filed under its own name so that neither figure hides the other.
"""

from __future__ import annotations

from typing import Any

from headgate.simulate.builtin import Clicks
from headgate.simulate.scenario import Action, Reply, User


class StoryClicks(Clicks):
    """`click`: nothing of this user is under way. `click_behind_own_update`: their own update is.

    Parameters: those of `Clicks`, and `in_order`: the app handles a connection's messages one after the other.
    """

    name = "story"

    def start(self, user: User) -> None:
        user.data["updates"] = set()

    def act(self, user: User, click_id: int, heavy: bool) -> Action:
        action = super().act(user, click_id, heavy)
        if heavy:
            user.data["updates"].add(click_id)
        elif user.data["updates"] and self.params.get("in_order"):
            return Action(action.message, name="click_behind_own_update")
        return action

    def read(self, user: User, message: Any) -> Reply | None:
        reply = super().read(user, message)
        if reply is not None and reply.kind in ("answer", "error") and reply.id is not None:
            user.data["updates"].discard(reply.id)
        return reply
