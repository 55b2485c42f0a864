"""The built-in clicks as HTTP requests; heavy ones may be accepted as jobs (202 and Location) and polled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from headgate.simulate.scenario import Action, Reply, Scenario, User
from headgate.simulate.wire.http import HttpRequest, HttpResponse

RUNNING: Final = frozenset({"scheduled", "queued", "running", "pending", "started"})
ENDED_BADLY: Final = frozenset({"failed", "cancelled"})
LONGEST_POLL: Final = 10.0


class HttpClicks(Scenario):
    """Users that send requests to the target's URL.

    Parameters (`--param name=value`, all optional):
        light_method, light_path, light_body: of a light click (GET, the target itself, none).
        heavy_method, heavy_path, heavy_body: of a heavy click (POST, the target itself, {}).
        prefer: the Prefer header of heavy clicks (`respond-async`, RFC 7240; empty for none).
        poll: seconds between two looks at a job's URL, where no Retry-After says otherwise (0.5).
    """

    name = "http-clicks"
    ordered = False  # a user's requests travel on several connections, which promise nothing to each other

    def __init__(self, params: Mapping[str, Any] | None = None, shared: Any = None) -> None:
        super().__init__(params, shared)
        get = self.params.get
        prefer = str(get("prefer", "respond-async"))
        self._light = HttpRequest(str(get("light_method", "GET")), str(get("light_path", "")), body=get("light_body"))
        self._heavy = HttpRequest(
            str(get("heavy_method", "POST")),
            str(get("heavy_path", "")),
            {"Prefer": prefer} if prefer else {},
            get("heavy_body", {}),
        )
        self._poll = float(get("poll", 0.5))

    def act(self, user: User, click_id: int, heavy: bool) -> Action:
        return Action(self._heavy if heavy else self._light, name="update" if heavy else "click")

    def read(self, user: User, message: HttpResponse) -> Reply | None:
        if message.click_id is None:
            return self._polled(message)
        if message.status == 202 and "location" in message.headers:
            job = message.headers["location"]
            return Reply("answer", id=message.click_id, job=job, then=HttpRequest(path=job), wait=self._wait(message))
        if message.status == 0:
            return Reply("lost", id=message.click_id, detail="the connection broke before the answer")
        if message.status >= 400:
            return Reply("error", id=message.click_id, detail=f"HTTP {message.status}")
        return Reply("answer", id=message.click_id)

    def _polled(self, message: HttpResponse) -> Reply:
        job = message.request.path
        data = message.json()
        state = data.get("state", data.get("status")) if isinstance(data, dict) else None
        # A full or restarting server says "later" (429, 503) or nothing: the job is not lost by that.
        again = message.status in (0, 202, 429, 503)
        if again or (message.status == 200 and state in RUNNING):
            return Reply("event", job=job, then=message.request, wait=self._wait(message))
        if message.status >= 400 or state in ENDED_BADLY:
            return Reply("failed", job=job)
        return Reply("result", job=job)

    def _wait(self, message: HttpResponse) -> float:
        after = message.headers.get("retry-after", "")
        seconds = float(after) if after.replace(".", "", 1).isdigit() else self._poll
        return min(seconds, LONGEST_POLL)
