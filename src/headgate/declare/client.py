"""An engine by hand: for programs that do not import the app whose jobs they enqueue."""

from __future__ import annotations

from typing import Any

import msgspec

from headgate.base.errors import BadArguments
from headgate.declare.binding import Binding
from headgate.declare.handle import JobHandle
from headgate.declare.job import JobOptions, make_options
from headgate.declare.stream import Stream


class Client:
    """A connection to an engine.

    Args:
        binding: the process's.
        close: what ends it.
    """

    def __init__(self, binding: Binding, close: Any) -> None:
        self._binding = binding
        self._close = close

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def enqueue(
        self, function: str, *args: Any, options: JobOptions | dict[str, Any] | None = None, **kwargs: Any
    ) -> JobHandle:
        """Enqueue a job function by its name, such as "shop.orders:reprice".

        The arguments are checked by the worker alone: this process does not know the function.

        Args:
            options: of the job; the function's own are not known here either.

        Raises:
            BadArguments: msgpack cannot carry the arguments.
            QueueFull, Unavailable.
        """
        given = options if isinstance(options, JobOptions) else make_options(options or {}, "options")
        try:
            arguments = msgspec.msgpack.encode([args, kwargs])
        except (TypeError, ValueError, OverflowError) as exc:
            raise BadArguments(f"the arguments for {function} cannot be sent to a job worker: {exc}") from None
        spec = given.spec(function, arguments, given.key, given.idempotency_key)
        receipt = self._binding.engine.put([spec])[0]
        return JobHandle(receipt.id, receipt.created)

    def job(self, job_id: str) -> JobHandle:
        """The handle of a job by its id; whether it exists shows when it is used."""
        return JobHandle(job_id)

    def stream(self, name: str, *, producer: str | None = None, epoch: int | None = None) -> Stream:
        """A stream by its name; see `declare.stream.Stream`."""
        return Stream(name, producer=producer, epoch=epoch)

    def publish(self, channel: str, data: Any, *, history: int = 0) -> None:
        """As `Headgate.publish`."""
        self._binding.publish(channel, data, history)

    def close(self) -> None:
        """Disconnect."""
        self._close()
