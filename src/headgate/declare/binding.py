"""The engine that declarations speak to, given by the process they run in.

A role binds its engine at start. A process that is not ours (plain gunicorn, `flask shell`, a script) binds
nothing: the first call that needs the engine then asks the connector, which `headgate.library` installs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from msgspec import to_builtins

from headgate.base.channels import pack
from headgate.base.errors import NotHosted
from headgate.base.model import Batch, Event, JobRecord, JobSpec, JobState, NewEvent, Receipt
from headgate.base.streams import MESSAGE, Retention, StreamSpec, Write, Written, channel_stream
from headgate.base.tokens import Tokens, job_url, stream_url


class BlockingEngine(Protocol):
    """What declarations need of an engine, as calls that block the calling thread (`drivers.bridge.Bridge`)."""

    def put(self, specs: Sequence[JobSpec]) -> Sequence[Receipt]: ...

    def get(self, job_id: str) -> JobRecord | None: ...

    def cancel(self, job_id: str) -> JobState: ...

    def append(self, stream: str, events: Sequence[NewEvent]) -> int: ...

    def write(self, stream: str, write: Write) -> Written: ...

    def delete(self, stream: str) -> None: ...

    def read(self, stream: str, after: int, most: int = 1000) -> Batch: ...

    def follow(
        self, stream: str, after: int = 0, *, timeout: float | None = None, until: float | None = None
    ) -> Iterator[Event]: ...

    def publish(self, channel: str, payload: bytes) -> None: ...


class Binding:
    """One process's engine and what is needed to make URLs of its jobs; the arguments are those of `bind`."""

    def __init__(
        self,
        engine: BlockingEngine,
        effects: Any = None,
        *,
        secret: Callable[[], str] | str | None = None,
        root_path: str = "",
        url_ttl: float = 86_400.0,
        rq_url: str = "",
    ) -> None:
        self.engine = engine
        self.rq_url = rq_url
        self.effects = effects
        self._secret = secret
        self._root_path = root_path
        self._url_ttl = url_ttl
        self._tokens: Tokens | None = None

    def job_url(self, job_id: str) -> str:
        """The signed path of a job.

        Raises:
            NotHosted: this process knows no secret to sign with.
        """
        return job_url(self._signer(), job_id, self._url_ttl, self._root_path)

    def stream_url(self, stream: str, ttl: float | None = None, *, write: bool = False) -> str:
        """The signed path of a stream, for reading or for writing too; `ttl` in seconds.

        Raises:
            NotHosted: this process knows no secret to sign with.
        """
        ttl = self._url_ttl if ttl is None else ttl
        return stream_url(self._signer(), stream, ttl, self._root_path, write=write)

    def publish(self, channel: str, data: Any, history: int = 0) -> None:
        """Send to every connection that has joined the channel; `history` keeps so many of its messages.

        Raises:
            Unavailable: the engine does not answer.
        """
        if history:
            # First what is kept: whoever hears of it can read it.
            kept = StreamSpec(retention=Retention(events=history))
            event = NewEvent(MESSAGE, data if isinstance(data, bytes | str) else to_builtins(data))
            self.engine.write(channel_stream(channel), Write(events=[event], spec=kept))
        self.engine.publish(channel, pack(data))

    def _signer(self) -> Tokens:
        if self._tokens is None:
            self._tokens = Tokens(self._fetch_secret())
        return self._tokens

    def _fetch_secret(self) -> str:
        secret = self._secret() if callable(self._secret) else self._secret
        if not secret:
            raise NotHosted(
                "the address of a job cannot be signed here, because this process knows no secret; "
                "set HEADGATE_SECRET to that of the Headgate that serves the job, or HEADGATE_DATA to its data folder"
            )
        return secret


Connector = Callable[[], Binding]

_lock = threading.Lock()
_bound: Binding | None = None
_connector: Connector | None = None


def bind(
    engine: BlockingEngine,
    effects_sink: Any = None,
    *,
    secret: Callable[[], str] | str | None = None,
    root_path: str = "",
    url_ttl: float = 86_400.0,
    rq_url: str = "",
) -> Binding:
    """Make this the process's engine; a later call replaces it.

    Args:
        engine: the blocking face of an engine.
        effects_sink: takes effects outside of a handler; None if there is no gateway to take them.
        secret: what signs job URLs, or a function that fetches it when the first URL is made.
        root_path: prefix of the URLs as the outside sees them.
        url_ttl: seconds that a URL is good for.
        rq_url: of the Redis that RQ works on, if there is one.
    """
    global _bound
    _bound = Binding(engine, effects_sink, secret=secret, root_path=root_path, url_ttl=url_ttl, rq_url=rq_url)
    return _bound


def unbind() -> None:
    """Forget the engine (it is not closed)."""
    global _bound
    _bound = None


def install_connector(connector: Connector | None) -> None:
    """Say how to find an engine when none is bound: called at most once, at the first need."""
    global _connector
    _connector = connector


def current() -> Binding:
    """The process's binding, connecting first if nobody has bound one.

    Raises:
        NotHosted: there is neither a binding nor a way to connect.
        Unavailable: the engine does not answer.
    """
    bound = _bound
    if bound is not None:
        return bound
    with _lock:
        return _bound if _bound is not None else _connect()


def _connect() -> Binding:
    global _bound
    if _connector is None:
        raise NotHosted(
            "no engine is bound to this process, so jobs cannot be enqueued here: run the app with `headgate run`, "
            "or call headgate.connect() first"
        )
    _bound = _connector()
    return _bound
