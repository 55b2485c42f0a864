"""The wall between the lanes, on the worker's side: what a fast app worker agrees to run."""

from __future__ import annotations

from collections.abc import Mapping


class LaneCheck:
    """Knows which handlers are proven fast, as the gateways tell.

    Args:
        lane: of this app worker.
        lanes: False where there is only one; everything may run then.
    """

    def __init__(self, lane: str, lanes: bool = True) -> None:
        self._guarded = lanes and lane == "fast"
        self._lanes = lanes
        self._known: dict[str, bool] = {}

    def learn(self, lanes: Mapping[str, bool]) -> None:
        """Handlers that were proven fast (True), or slow (False)."""
        self._known.update(lanes)

    def may_run(self, handler: str, guess: str) -> bool:
        """Whether this worker runs the handler, which the gateway took to be `guess` (and to be fit for this lane).

        A gateway is trusted about the handler that it named, unless another one knows worse of it.
        """
        if not self._guarded:
            return True
        known = self._known.get(handler)
        return known is not False if handler == guess else known is True

    def is_fast(self, handler: str) -> bool:
        """Whether a turn of a loop needs no slot."""
        return not self._lanes or self._known.get(handler) is True
