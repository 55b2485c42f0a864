"""The built-in scenario: light clicks and heavy ones, as JSON over whatever the target speaks.

What goes over the wire (see `docs/reference/simulate.md`):

    → {"type": "click", "id": 7}            ← {"type": "answer", "id": 7, …}
    → {"type": "update", "id": 8}           ← {"id": 8, "job_id": "…"}
                                            ← {"headgate": "event", "stream": "jobs/…", "offset": "3",
                                               "event": "result", "data": …}
    ← {"headgate": "error", "id": 9, …}       an answer that says no
    → {"type": "follow", "job": "…", "after": "3"}    after a reconnect, for each job that goes on
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from headgate.simulate.scenario import Action, Reply, Scenario, User

_decode: Final = msgspec.json.Decoder().decode
_ENDS: Final = {"result": "result", "failed": "failed", "cancelled": "failed", "gone": "failed"}


class Clicks(Scenario):
    """Users that click; a share of the clicks asks for heavy work.

    Parameters (`--param name=value`, all optional):
        light, heavy: the "type" of the two kinds of click (click, update).
        type_key, id_key, job_key: the names of the fields (type, id, job_id).
        extra: fields added to every click.
        heavy_extra: fields added to heavy clicks.
        resume: after a reconnect, ask to follow again the jobs that go on (true).
    """

    name = "clicks"

    def __init__(self, params: Mapping[str, Any] | None = None, shared: Any = None) -> None:
        super().__init__(params, shared)
        get = self.params.get
        self._light = str(get("light", "click"))
        self._heavy = str(get("heavy", "update"))
        self._type_key = str(get("type_key", "type"))
        self._id_key = str(get("id_key", "id"))
        self._job_key = str(get("job_key", "job_id"))
        self._resume = bool(get("resume", True))
        self._extra = dict(get("extra", {}))
        self._heavy_extra = {**self._extra, **dict(get("heavy_extra", {}))}

    def act(self, user: User, click_id: int, heavy: bool) -> Action:
        kind = self._heavy if heavy else self._light
        extra = self._heavy_extra if heavy else self._extra
        message = {self._type_key: kind, self._id_key: click_id, **extra}
        return Action(message, name="update" if heavy else "click")

    def read(self, user: User, message: Any) -> Reply | None:
        if isinstance(message, str | bytes):
            try:
                message = _decode(message)
            except msgspec.DecodeError:
                return None
        return self.understand(message)

    def understand(self, data: Any) -> Reply | None:
        """What decoded JSON means."""
        if not isinstance(data, dict):
            return None
        kind = data.get("headgate")
        if kind == "event":
            return self._event(data)
        click_id = data.get(self._id_key)
        if not isinstance(click_id, int):
            return None
        if kind == "error" or "error" in data:
            return Reply("error", id=click_id, detail=str(data.get("error") or data.get("code") or "error")[:60])
        job = data.get(self._job_key)
        return Reply("answer", id=click_id, job=str(job) if job is not None else None)

    def _event(self, data: Mapping[str, Any]) -> Reply | None:
        stream, event = data.get("stream"), data.get("event")
        if not isinstance(stream, str) or not isinstance(event, str):
            return None
        offset = data.get("offset")
        if event == "truncated":
            return Reply("truncated", stream=stream, offset=offset)
        kind = _ENDS.get(event, "event")
        return Reply(kind, stream=stream, offset=offset)  # type: ignore[arg-type]

    def resume(self, user: User) -> Sequence[Any]:
        return self.follow_again(user) if self._resume else ()

    def follow_again(self, user: User) -> list[dict[str, Any]]:
        """One message for each job whose end has not come: `{"type": "follow", "job": …, "after": "…"}`."""
        return [
            {self._type_key: "follow", "job": stream.removeprefix("jobs/"), "after": str(offset or 0)}
            for stream, offset in user.following.items()
        ]
