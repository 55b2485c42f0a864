"""Job functions: a function that runs in a job worker, with the options of its jobs.

The rule for the context: a function whose first parameter is called `job`, or is annotated `JobContext`,
gets the job's context there; callers do not pass it.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar

import msgspec

from headgate.base.errors import BadArguments, ConfigError
from headgate.base.model import Backoff, JobRecord, JobSpec, JobState, new_id
from headgate.declare import arguments as packing
from headgate.declare import binding
from headgate.declare.arguments import Signature
from headgate.declare.context import InPlace, JobBatch, JobContext, running
from headgate.declare.handle import JobHandle

R = TypeVar("R")

MOST_AT_ONCE: Final = 1000
"""Jobs in one commit of `enqueue_many`; more are cut into several."""
BYTES_AT_ONCE: Final = 8 << 20
"""Their arguments together, likewise."""
LARGEST_BATCH: Final = 1000
"""Jobs that one call can be given."""

Serializer = Literal["msgpack", "pickle"]


class Batching(NamedTuple):
    """How a function takes a list of jobs at once."""

    most: int
    linger: float
    """Seconds that a worker waits for more of them after the first."""


class JobOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the jobs of a function are run; every one may be overridden for a single job with `.options(…)`."""

    queue: str = "default"
    retries: int = 0
    """How often it may run again after its first try."""
    timeout: float | None = None
    """Seconds after which `JobTimeout` is raised in the job."""
    backoff: Backoff = Backoff()
    priority: int = 0
    key: str | None = None
    """At most `limit` jobs of one key run at once; `{name}` stands for an argument, as in "table:{table}"."""
    limit: int = 1
    delay: float | None = None
    """Seconds before which it does not start."""
    eta: float | datetime | None = None
    """The moment before which it does not start."""
    deadline: float | None = None
    """Seconds after enqueueing, past which it is not started any more."""
    idempotency_key: str | None = None
    """A second enqueue with the same key yields the first one's job; `{name}` stands for an argument."""
    tags: tuple[str, ...] = ()
    result_ttl: float = 86_400.0
    """Seconds that the finished job and its stream are kept."""
    engine: Literal["headgate", "rq", "celery"] = "headgate"
    """Whose workers run it: Headgate's own, or those of RQ or Celery that are there already (broker: Redis)."""

    def spec(self, function: str, arguments: bytes, key: str | None, idempotency_key: str | None) -> JobSpec:
        """A job with these options, made now.

        Args:
            key, idempotency_key: as the arguments have filled them in.
        """
        now = time.time()
        eta = self.eta.timestamp() if isinstance(self.eta, datetime) else self.eta
        return JobSpec(
            id=new_id(),
            function=function,
            arguments=arguments,
            queue=self.queue,
            priority=self.priority,
            retries=self.retries,
            backoff=self.backoff,
            timeout=self.timeout,
            not_before=eta if self.delay is None else now + self.delay,
            deadline=None if self.deadline is None else now + self.deadline,
            idempotency_key=idempotency_key,
            key=key,
            limit=self.limit,
            tags=self.tags,
            result_ttl=self.result_ttl,
            created_at=now,
            carrier=None if self.engine == "headgate" else self.engine,
        )


class JobFunction(Generic[R]):
    """A declared job function. Calling it runs it in place; `enqueue` runs it in a job worker.

    Args:
        function: what `@gate.job` decorates.
        name: under which workers find it; default `module:qualname`.
        options: of its jobs.
        app_context: makes the context that the function runs in (the Flask app's).
        retry_on: exceptions after which it is tried again; default all.
        give_up_on: exceptions after which it is not.
        batching: it takes a list: of so many jobs, one item of each.
        serializer: how its arguments travel.

    Raises:
        ConfigError: a function that takes lists has not exactly one parameter for them.
    """

    def __init__(
        self,
        function: Callable[..., R],
        name: str | None = None,
        options: JobOptions | None = None,
        *,
        app_context: Callable[[], AbstractContextManager[Any]] = nullcontext,
        retry_on: tuple[type[BaseException], ...] = (Exception,),
        give_up_on: tuple[type[BaseException], ...] = (),
        batching: Batching | None = None,
        serializer: Serializer = "msgpack",
    ) -> None:
        self.name = name or _name(function)
        self.declared = options or JobOptions()
        self.origin = f"{function.__module__}:{function.__qualname__}"
        self._function = function
        self._context = _wants_context(function)
        self.batching = _checked(batching, self.name)
        self._serializer = serializer
        self._signature = Signature(function, 1 if self._context else 0, item=batching is not None)
        if batching is not None and len(self._signature.names) != 1:
            raise ConfigError(f"{self._signature} takes a batch: it needs exactly one parameter, the list of items")
        self._app_context = app_context
        self._retry_on = retry_on
        self._give_up_on = give_up_on
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self.__wrapped__ = function

    def __repr__(self) -> str:
        return f"<JobFunction {self.name}>"

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        """Run it here and now, with a context of its own if the caller is not a job that passes its own."""
        if not self._context or (args and isinstance(args[0], JobContext)):
            return self._function(*args, **kwargs)
        spec = JobSpec(id=new_id(), function=self.name, arguments=b"")
        context = JobContext(JobRecord(spec=spec, state=JobState.RUNNING, tries=1), InPlace())
        with running(context):
            return self._function(context, *args, **kwargs)

    @property
    def queue(self) -> str:
        return self.declared.queue

    def options(self, **changes: Any) -> JobFunction[R]:
        """The same function with other options: `reprice.options(queue="night", delay=60).enqueue(…)`.

        Keys given here are taken as they are: braces in them stand for themselves.

        Raises:
            ConfigError: an option that does not exist, or a value of the wrong type.
        """
        twin: JobFunction[R] = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        for name in ("key", "idempotency_key"):
            if isinstance(changes.get(name), str):
                changes[name] = changes[name].replace("{", "{{").replace("}", "}}")
        twin.declared = make_options(msgspec.structs.asdict(self.declared) | changes, f"options of {self.name}")
        return twin

    def enqueue(self, *args: Any, **kwargs: Any) -> JobHandle:
        """Hand one call to the job workers; returns when it is durable.

        Raises:
            BadArguments: the arguments do not fit, or cannot be sent.
            QueueFull: the queue is at its depth; nothing was enqueued.
            Unavailable: the engine does not answer.
        """
        return self._put([self.spec(args, kwargs)])[0]

    def enqueue_many(self, calls: Iterable[Mapping[str, Any] | Sequence[Any]]) -> list[JobHandle]:
        """Hand over many calls, each a dict of named or a list of positional arguments; one commit per 1,000.

        Raises:
            BadArguments: a call does not fit; nothing was enqueued.
            QueueFull: the queue has no room for the next commit; those before it are enqueued.
        """
        specs = [self.spec((), call) if isinstance(call, Mapping) else self.spec(call, {}) for call in calls]
        return [handle for part in _parts(specs) for handle in self._put(part)]

    def prepared(self, *args: Any, **kwargs: Any) -> JobSpec:
        """One call that is not enqueued yet: what `gate.chain` and `gate.group` take.

        Raises:
            BadArguments: the arguments do not fit, or cannot be sent.
        """
        return self.spec(args, kwargs)

    def spec(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> JobSpec:
        """The job that `enqueue` would ask for.

        Raises:
            BadArguments: the arguments do not fit, or cannot be sent.
        """
        return self.declared.spec(
            self.name,
            self._packed(args, kwargs),
            self._fill(self.declared.key, args, kwargs),
            self._fill(self.declared.idempotency_key, args, kwargs),
        )

    def arguments(self, raw: bytes) -> tuple[list[Any], dict[str, Any]]:
        """The stored arguments of a job, as plain values.

        Raises:
            BadArguments: they cannot be read.
        """
        return packing.decode(raw, unpickle=self._serializer == "pickle")

    def call(self, context: JobContext, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run it as a job: arguments as decoded from the spec, inside the app's context; `async def` too.

        Raises:
            BadArguments: the arguments do not fit the function (any more).
            BaseException: whatever the function raises.
        """
        positional, named = self._converted(args, kwargs)
        with running(context), self._app_context():
            return self._run(context, *positional, **named)

    def together(self, contexts: Sequence[JobContext]) -> JobBatch:
        """The contexts of a batch as one."""
        return JobBatch(contexts)

    def call_together(
        self, context: JobBatch, calls: Sequence[tuple[Sequence[Any], Mapping[str, Any]]]
    ) -> Sequence[Any]:
        """Run it once for a list of jobs. Returns a result for each; an exception among them is that job's failure.

        Raises:
            BaseException: whatever the function raises; all have failed with it.
        """
        items = [self._item(args, kwargs) for args, kwargs in calls]
        good = [item for item in items if not isinstance(item, BadArguments)]
        with running(context), self._app_context():
            values: Any = self._run(context, good) if good else []
        values = [None] * len(good) if values is None else values
        if not isinstance(values, list | tuple) or len(values) != len(good):
            raise TypeError(f"{self.name} was given {len(good)} items and must return a list of as many, or None")
        left = iter(values)
        return [item if isinstance(item, BadArguments) else next(left) for item in items]

    def gives_up(self, exc: BaseException) -> bool:
        """Whether a try that ended with `exc` is not to be repeated."""
        return isinstance(exc, (*self._give_up_on, BadArguments)) or not isinstance(exc, self._retry_on)

    def _run(self, context: JobContext, *args: Any, **kwargs: Any) -> Any:
        first = [context] if self._context else []
        result: Any = self._function(*first, *args, **kwargs)
        return asyncio.run(_finish(result)) if inspect.isawaitable(result) else result

    def _item(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        try:
            positional, named = self._converted(args, kwargs)
        except BadArguments as exc:
            return exc
        return next(iter((*positional, *named.values())))

    def _packed(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        pickled = self._serializer == "pickle"
        return self._signature.pickled(args, kwargs) if pickled else self._signature.encode(args, kwargs)

    def _converted(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        if self._serializer == "pickle":
            self._signature.bind(args, kwargs)
            return list(args), dict(kwargs)
        return self._signature.convert(args, kwargs)

    def _put(self, specs: Sequence[JobSpec]) -> list[JobHandle]:
        receipts = binding.current().engine.put(specs)
        return [JobHandle(receipt.id, receipt.created) for receipt in receipts]

    def _fill(self, template: str | None, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
        if template is None or ("{" not in template and "}" not in template):
            return template
        try:
            return template.format_map(self._signature.bind(args, kwargs))
        except (KeyError, IndexError, AttributeError, ValueError) as exc:
            raise BadArguments(
                f"the key {template!r} of {self.name} names {exc}, which is no argument of {self._signature}"
            ) from None


def make_options(values: Mapping[str, Any], where: str) -> JobOptions:
    """Options from keywords, checked.

    Raises:
        ConfigError: names the option that is unknown or has the wrong type.
    """
    known = JobOptions.__struct_fields__
    for name in values:
        if name not in known:
            raise ConfigError(f"{where}: there is no option {name!r}; there are {', '.join(known)}")
    try:
        return msgspec.convert(dict(values), JobOptions)
    except msgspec.ValidationError as exc:
        raise ConfigError(f"{where}: {exc}") from None


def _checked(batching: Batching | None, name: str) -> Batching | None:
    if batching is not None and not (1 <= batching.most <= LARGEST_BATCH and 0 <= batching.linger <= 60):
        raise ConfigError(f"{name}: batch is 1 to {LARGEST_BATCH}, linger 0 to 60 seconds; got {tuple(batching)}")
    return batching


def _parts(specs: Sequence[JobSpec]) -> Iterator[list[JobSpec]]:
    """What one commit takes, by number and by size."""
    part, size = list[JobSpec](), 0
    for spec in specs:
        if part and (len(part) == MOST_AT_ONCE or size + len(spec.arguments) > BYTES_AT_ONCE):
            yield part
            part, size = [], 0
        part.append(spec)
        size += len(spec.arguments)
    if part:
        yield part


def _wants_context(function: Callable[..., Any]) -> bool:
    first = next(iter(inspect.signature(function).parameters.values()), None)
    if first is None or first.kind not in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD):
        return False
    return first.name == "job" or first.annotation in (JobContext, "JobContext", "headgate.JobContext")


def _name(function: Callable[..., Any]) -> str:
    """`module:qualname`; for a script run as `__main__`, the name under which a worker can import it."""
    module = function.__module__
    if module == "__main__":
        main = sys.modules["__main__"]
        spec, path = getattr(main, "__spec__", None), getattr(main, "__file__", None)
        if spec is not None:
            module = spec.name.removesuffix(".__main__")
        elif path:
            module = Path(path).stem
    return f"{module}:{function.__qualname__}"


async def _finish(awaitable: Any) -> Any:
    return await awaitable
