"""`Headgate`: the object that user code declares jobs and sockets on; a Flask extension if there is a Flask app.

Works the same under `headgate run`, under plain gunicorn or `flask run`, and in a shell: jobs are enqueued
through whatever engine the settings name. Only sockets need the gateway, and say so.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar, overload

from headgate.base.errors import ConfigError, Full
from headgate.base.model import JobSpec
from headgate.base.streams import Retention
from headgate.declare import binding, registry, workflow
from headgate.declare.handle import JobHandle
from headgate.declare.job import Batching, JobFunction, Serializer, make_options
from headgate.declare.socket import Format, SocketRoute
from headgate.declare.stream import Stream
from headgate.declare.workflow import make_cron

R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

ACCESS_HOOK = "/-/streams-access"
"""The route by which a gateway asks the app; from outside it cannot be reached."""
OFFLOAD = "__headgate_offload__"
"""The attribute of a view function that may be run as a job: the options of these jobs."""

NEEDS_GATEWAY = (
    "This address is a WebSocket that Headgate serves. The app runs under another server here, which cannot: "
    "start it with `headgate run`.\n"
)


class Headgate:
    """Declares jobs and sockets.

    Args:
        app: the Flask app, if there is one; `init_app` may bring it later. Anything else goes without.
    """

    def __init__(self, app: Any = None) -> None:
        self.app: Any = None
        self._sockets: list[SocketRoute] = []
        registry.gates.append(self)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Any) -> None:
        """Belong to a Flask app: jobs run in its context, sockets are part of its URL map.

        Raises:
            ConfigError: `app` is no Flask app.
        """
        if not hasattr(app, "add_url_rule") or not hasattr(app, "extensions"):
            raise ConfigError(
                f"Headgate(app) takes a Flask app, and got a {type(app).__name__}; without Flask write Headgate()"
            )
        self.app = app
        app.extensions["headgate"] = self
        app.register_error_handler(Full, _full)
        for route in self._sockets:
            self._add_rule(route)

    @overload
    def job(self, function: Callable[..., R], /) -> JobFunction[R]: ...

    @overload
    def job(
        self,
        /,
        *,
        name: str | None = None,
        retry_on: tuple[type[BaseException], ...] = (Exception,),
        give_up_on: tuple[type[BaseException], ...] = (),
        batch: int | None = None,
        linger: float = 0.05,
        serializer: Serializer = "msgpack",
        **options: Any,
    ) -> Callable[[Callable[..., R]], JobFunction[R]]: ...

    def job(
        self,
        function: Callable[..., R] | None = None,
        /,
        *,
        name: str | None = None,
        retry_on: tuple[type[BaseException], ...] = (Exception,),
        give_up_on: tuple[type[BaseException], ...] = (),
        batch: int | None = None,
        linger: float = 0.05,
        serializer: Serializer = "msgpack",
        **options: Any,
    ) -> Any:
        """Declare a function as a job: `@gate.job` or `@gate.job(queue="bulk", retries=3, timeout=600)`.

        Args:
            name: under which workers find it; default `module:qualname`.
            retry_on: exceptions after which it is tried again, while retries remain.
            give_up_on: exceptions after which it is not.
            batch: the function takes a list, of at most so many jobs at once; each `enqueue` gives one item of it.
            linger: seconds that a worker waits for more of them after the first.
            serializer: "msgpack", or "pickle" for arguments of any kind, when all who enqueue are trusted.
            options: see `JobOptions`: queue, retries, timeout, backoff, priority, key, limit, delay, eta,
                deadline, idempotency_key, tags, result_ttl.

        Raises:
            ConfigError: an unknown option, a wrong value, or a name that is taken.
        """

        def declare(target: Callable[..., R]) -> JobFunction[R]:
            made = make_options(options, f"@gate.job on {target.__qualname__}")
            job = JobFunction(
                target,
                name,
                made,
                app_context=self._app_context,
                retry_on=retry_on,
                give_up_on=give_up_on,
                batching=None if batch is None else Batching(batch, linger),
                serializer=serializer,
            )
            registry.add_job(job)
            return job

        return declare if function is None else declare(function)

    def cron(
        self,
        expression: str,
        /,
        *,
        zone: str = "UTC",
        missed: str = "once",
        name: str | None = None,
        **options: Any,
    ) -> Callable[[Callable[..., R]], JobFunction[R]]:
        """Declare a function as a job that runs again and again: `@gate.cron("*/5 * * * *")`.

        Each moment makes exactly one job, however many job workers there are.

        Args:
            expression: minute, hour, day of month, month, day of week, as in crontab(5); or @daily and the like.
            zone: the IANA name of its time zone.
            missed: moments that passed while nothing ran here: "skip" them, make up for them "once", or for "all".
            name, options: as in `job`.

        Raises:
            ConfigError: a wrong expression, zone, policy or option.
        """

        def declare(target: Callable[..., R]) -> JobFunction[R]:
            job: JobFunction[R] = self.job(name=name, **options)(target)
            registry.crons[job.name] = make_cron(job, expression, zone, missed)
            return job

        return declare

    def around_jobs(self, layer: registry.Layer) -> registry.Layer:
        """Decorator: lay a function around every job of the app, `layer(job, call)`; it returns `call()`.

        Layers are an onion: the one declared first is the outermost, and exceptions pass through all of them.
        """
        registry.layers.append(layer)
        return layer

    def chain(self, *calls: JobSpec) -> JobHandle:
        """Enqueue jobs that run one after the other; see `workflow.chain`."""
        return workflow.chain(calls)

    def group(self, calls: Iterable[JobSpec], *, then: JobSpec, even_if_failed: bool = False) -> JobHandle:
        """Enqueue jobs that run side by side, and one that completes them; see `workflow.group`."""
        return workflow.group(calls, then, even_if_failed=even_if_failed)

    def socket(
        self,
        rule: str,
        *,
        format: Format = "json",
        concurrent: bool = False,
        event_field: str | tuple[str, ...] = (),
    ) -> Callable[[Callable[..., Any]], SocketRoute]:
        """Declare the handler of a native socket: `handler(sock, message)` for every message.

        What it returns, unless None, is the answer: JSON, or bytes as a binary message. The arguments are
        those of `SocketRoute`.
        """
        fields = (event_field,) if isinstance(event_field, str) else tuple(event_field)

        def declare(handler: Callable[..., Any]) -> SocketRoute:
            route = SocketRoute(handler, rule, format=format, concurrent=concurrent, event_field=fields)
            registry.add_socket(route)
            self._sockets.append(route)
            if self.app is not None:
                self._add_rule(route)
            return route

        return declare

    @overload
    def offload(self, view: F, /) -> F: ...

    @overload
    def offload(self, /, **options: Any) -> Callable[[F], F]: ...

    def offload(self, view: F | None = None, /, **options: Any) -> Any:
        """Decorator, below `@app.route`: a request with `Prefer: respond-async` may run this view as a job.

        `@gate.offload`, or `@gate.offload(queue="reports", timeout=600)` with the options of `@gate.job`.

        Raises:
            ConfigError: an unknown option or a wrong value.
        """

        def mark(target: F) -> F:
            setattr(target, OFFLOAD, make_options({"queue": "requests", **options}, f"@gate.offload on {target!r}"))
            return target

        return mark if view is None else mark(view)

    def stream(
        self,
        name: str,
        *,
        events: int | None = None,
        bytes: int | None = None,
        seconds: float | None = None,
        producer: str | None = None,
        epoch: int | None = None,
    ) -> Stream:
        """A stream of your own: `gate.stream("imports/7").append({"rows": 10})`; the arguments are as in `Stream`."""
        kept = Retention(events=events, bytes=bytes, seconds=seconds)
        return Stream(name, kept, producer=producer, epoch=epoch)

    def stream_access(self, hook: Callable[[str, str], Any]) -> Callable[[str, str], Any]:
        """Decorator: `hook(stream, access)` says whether a client may "read" or "write" a stream over HTTP.

        It runs as a view of the Flask app: `request`, `session` and logins are the client's. None or False refuses.

        Raises:
            ConfigError: there is no Flask app. Other apps declare a route for GET /-/streams-access.
        """
        if self.app is None:
            raise ConfigError(
                "@gate.stream_access needs a Flask app: write Headgate(app) or init_app before it. In other apps "
                f"declare a route for GET {ACCESS_HOOK}; its status decides, 2xx allows"
            )
        request = sys.modules["flask"].request

        def view() -> tuple[str, int]:
            allowed = hook(request.args["stream"], request.args["access"])
            return ("", 204) if allowed else ("", 403)

        self.app.add_url_rule(ACCESS_HOOK, "headgate_streams_access", view)
        return hook

    def publish(self, channel: str, data: Any, *, history: int = 0) -> None:
        """Send to every connection that has joined the channel, whichever gateway holds it.

        Args:
            data: str and bytes go as they are (text, binary); anything else as JSON text.
            history: keep so many of its messages in the stream `channels/<channel>`, where they can be followed.

        Raises:
            Unavailable: the engine does not answer.
        """
        binding.current().publish(channel, data, history)

    def _app_context(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.app is None else self.app.app_context()

    def _add_rule(self, route: SocketRoute) -> None:
        endpoint = f"ws:{route.rule}"
        if endpoint not in self.app.view_functions:
            self.app.add_url_rule(route.rule, endpoint, _needs_gateway, websocket=True)


def _full(exc: Full) -> tuple[str, int, dict[str, str]]:
    """What a view answers that could not enqueue (RFC 9110 §15.6.4)."""
    headers = {"Retry-After": str(max(1, round(exc.retry_after))), "Content-Type": "text/plain; charset=utf-8"}
    return "Too much work is waiting here; try again later.\n", 503, headers


def _needs_gateway(**_: Any) -> tuple[str, int, dict[str, str]]:
    """What the path answers under a server that is not Headgate's gateway (RFC 9110 §15.6.2: 501)."""
    return NEEDS_GATEWAY, 501, {"Content-Type": "text/plain; charset=utf-8"}
