"""RQ's worker, which says when it serves: `rq worker --worker-class headgate.roles.rq_worker.Telling`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rq import Worker

serves: Callable[[], None] = lambda: None  # noqa: E731 - `headgate.roles.leashed` puts its own in this place


class Telling(Worker):
    """An ordinary worker."""

    def register_birth(self, *args: Any, **kwargs: Any) -> None:
        super().register_birth(*args, **kwargs)  # type: ignore[no-untyped-call]
        serves()
