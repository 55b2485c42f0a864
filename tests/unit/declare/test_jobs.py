"""Declaring jobs and enqueueing them, with an engine that only remembers."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator, Sequence
from typing import Any

import flask
import msgspec
import pytest

import headgate
from headgate.base.errors import (
    BadArguments,
    ConfigError,
    Full,
    JobCancelled,
    JobFailed,
    NotHosted,
    QueueFull,
    UnknownJob,
    UnknownStream,
)
from headgate.base.model import Event, Failure, JobRecord, JobSpec, JobState, NewEvent, Receipt
from headgate.base.tokens import Tokens
from headgate.declare import binding, registry
from headgate.declare.arguments import decode
from headgate.declare.context import InPlace, JobContext, current_job
from headgate.declare.extension import Headgate
from headgate.declare.handle import JobHandle
from headgate.declare.job import JobFunction


class Engine:
    """A `BlockingEngine` that keeps what it is given."""

    def __init__(self) -> None:
        self.specs: list[JobSpec] = []
        self.records: dict[str, JobRecord] = {}
        self.events: list[Event] = []
        self.published: list[tuple[str, bytes]] = []
        self.full = False
        self.after_follow: JobRecord | None = None

    def put(self, specs: Sequence[JobSpec]) -> Sequence[Receipt]:
        if self.full:
            raise QueueFull("the queue bulk is full", retry_after=7)
        self.specs += specs
        return [Receipt(spec.id) for spec in specs]

    def get(self, job_id: str) -> JobRecord | None:
        return self.records.get(job_id)

    def cancel(self, job_id: str) -> JobState:
        return JobState.CANCELLED

    def publish(self, channel: str, payload: bytes) -> None:
        self.published.append((channel, payload))

    def follow(
        self, stream: str, after: int = 0, *, timeout: float | None = None, until: float | None = None
    ) -> Iterator[Event]:
        record = self.records.get(stream.removeprefix("jobs/"))
        if record is None:
            raise UnknownStream(stream)
        if record.state is JobState.SUCCEEDED and record.result is not None:
            self.events = [Event(1, "result", {"result": msgspec.msgpack.decode(record.result)}, 0.0, terminal=True)]
        elif record.state.terminal:
            self.events = [Event(1, record.state.value, {}, 0.0, terminal=True)]
        elif self.after_follow is None:
            raise TimeoutError
        else:
            self.records[self.after_follow.id] = self.after_follow
        yield from self.events


@pytest.fixture(autouse=True)
def engine() -> Iterator[Engine]:
    registry.clear()
    engine = Engine()
    binding.bind(engine, secret="shared", root_path="/desk")  # type: ignore[arg-type]
    yield engine
    binding.unbind()
    registry.clear()


@dataclasses.dataclass
class Line:
    item: str
    count: int


gate_marks: list[Any] = []


def plain(table: str, factor: float = 1.0, *more: int, **named: bool) -> Any:
    gate_marks.append((table, factor, more, named))
    return "done"


def with_context(job: Any, when: datetime.date, lines: list[Line]) -> Any:
    return job, when, lines


def annotated(context: JobContext, number: int) -> Any:
    return context, number


async def coroutine(job: JobContext, number: int) -> Any:
    return current_job() is job, number


def record(job: JobFunction[Any], spec: JobSpec, **more: Any) -> JobRecord:
    return JobRecord(spec=spec, state=more.pop("state", JobState.RUNNING), tries=1, **more)


def run(job: JobFunction[Any], spec: JobSpec) -> Any:
    args, kwargs = decode(spec.arguments)
    return job.call(JobContext(record(job, spec), InPlace()), args, kwargs)


def test_a_job_is_named_after_its_module_and_found_in_the_registry() -> None:
    job = Headgate().job(plain)
    assert job.name == f"{__name__}:plain"
    assert registry.jobs[job.name] is job
    assert Headgate().job(name="other")(plain).name == "other"


def test_two_functions_cannot_have_one_name() -> None:
    gate = Headgate()
    gate.job(name="same")(plain)
    gate.job(name="same")(plain)  # a module that is loaded again
    with pytest.raises(ConfigError, match="two job functions are called 'same'"):
        gate.job(name="same")(annotated)


def test_calling_it_runs_it_in_place(engine: Engine) -> None:
    gate = Headgate()
    assert gate.job(plain)("prices") == "done"
    context, number = gate.job(annotated)(5)
    assert isinstance(context, JobContext)
    assert number == 5
    context.progress(1, 2)
    context.log("here")
    context.checkpoint.set({"at": 3})
    assert context.checkpoint.get() == {"at": 3}
    assert not context.cancelled
    assert engine.specs == []


def test_enqueue_carries_options_and_arguments(engine: Engine) -> None:
    job = Headgate().job(queue="bulk", retries=3, timeout=600.0, key="table:{table}", limit=2, tags=["a"])(plain)
    handle = job.enqueue("prices", factor=2.0)
    [spec] = engine.specs
    assert handle.id == spec.id
    assert (spec.function, spec.queue, spec.retries, spec.timeout) == (job.name, "bulk", 3, 600.0)
    assert (spec.key, spec.limit, spec.tags) == ("table:prices", 2, ("a",))
    assert decode(spec.arguments) == (["prices"], {"factor": 2.0})


def test_options_for_one_job_leave_the_function_as_it_was(engine: Engine) -> None:
    job = Headgate().job(queue="bulk")(plain)
    changed = job.options(queue="night", delay=60, priority=5, deadline=90, idempotency_key="{as it is}")
    changed.enqueue("prices")
    job.enqueue("prices")
    night, bulk = engine.specs
    assert (night.queue, night.priority, night.idempotency_key) == ("night", 5, "{as it is}")
    assert night.not_before == pytest.approx(night.created_at + 60)
    assert night.deadline == pytest.approx(night.created_at + 90)
    assert (bulk.queue, bulk.not_before) == ("bulk", None)


def test_eta_may_be_a_datetime(engine: Engine) -> None:
    moment = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    Headgate().job(plain).options(eta=moment).enqueue("prices")
    assert engine.specs[0].not_before == moment.timestamp()


@pytest.mark.parametrize(
    ("options", "part"),
    [({"qeue": "x"}, "no option 'qeue'"), ({"retries": "3"}, "Expected `int`"), ({"limit": None}, "int")],
)
def test_wrong_options_are_told_at_the_decorator(options: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        Headgate().job(**options)(plain)


def test_a_key_that_names_no_argument_is_told(engine: Engine) -> None:
    job = Headgate().job(key="{tabel}")(plain)
    with pytest.raises(BadArguments, match="tabel"):
        job.enqueue("prices")
    assert engine.specs == []


def test_many_are_enqueued_in_few_commits(engine: Engine) -> None:
    handles = Headgate().job(plain).enqueue_many([["a"], {"table": "b", "factor": 2.0}])
    assert [decode(spec.arguments) for spec in engine.specs] == [(["a"], {}), ([], {"table": "b", "factor": 2.0})]
    assert [handle.id for handle in handles] == [spec.id for spec in engine.specs]


@pytest.mark.parametrize(
    ("args", "kwargs", "parts"),
    [
        ([], {}, ["missing a required argument: 'table'"]),
        (["x"], {"table": "y"}, ["multiple values"]),
        ([7], {}, ["argument 'table'", "Expected `str`, got `int`"]),
        (["x", "y"], {}, ["argument 'factor'", "Expected `float`"]),
        (["x", 1.0, "z"], {}, ["argument 'more'", "Expected `int`"]),
        (["x"], {"flag": 3}, ["argument 'flag'", "Expected `bool`"]),
        ([object()], {}, ["argument 'table'", "cannot be sent", "an id instead"]),
        (["\ud800"], {}, ["argument 'table'", "cannot be sent"]),
        ([2**80], {}, ["argument 'table'"]),
    ],
)
def test_arguments_that_do_not_fit_name_themselves(
    engine: Engine, args: list[Any], kwargs: dict[str, Any], parts: list[str]
) -> None:
    with pytest.raises(BadArguments) as caught:
        Headgate().job(plain).enqueue(*args, **kwargs)
    assert [part for part in parts if part not in str(caught.value)] == [], str(caught.value)
    assert engine.specs == []


def test_arguments_are_rebuilt_as_annotated(engine: Engine) -> None:
    job = Headgate().job(with_context)
    job.enqueue(datetime.date(2026, 11, 23), lines=[Line("pen", 2)])
    context, when, lines = run(job, engine.specs[0])
    assert context.id == engine.specs[0].id
    assert when == datetime.date(2026, 11, 23)
    assert lines == [Line("pen", 2)]


def test_json_values_become_what_the_function_wants(engine: Engine) -> None:
    job = Headgate().job(with_context)
    job.enqueue(when="2026-11-23", lines=[{"item": "pen", "count": 2}])
    assert run(job, engine.specs[0])[1:] == (datetime.date(2026, 11, 23), [Line("pen", 2)])


def test_arguments_of_an_older_function_are_refused_by_the_worker() -> None:
    job = Headgate().job(annotated)
    with pytest.raises(BadArguments, match="unexpected keyword argument 'old'"):
        job.call(JobContext(record(job, job.spec([1], {})), InPlace()), [1], {"old": 1})
    assert job.gives_up(BadArguments("x"))


def test_async_functions_run_too(engine: Engine) -> None:
    job = Headgate().job(coroutine)
    job.enqueue(3)
    assert run(job, engine.specs[0]) == (True, 3)
    assert current_job() is None


def test_what_is_tried_again() -> None:
    job = Headgate().job(retry_on=(OSError,), give_up_on=(FileNotFoundError,))(plain)
    assert not job.gives_up(ConnectionError())
    assert job.gives_up(FileNotFoundError())
    assert job.gives_up(ValueError())


def test_a_flask_app_surrounds_its_jobs(engine: Engine) -> None:
    app = flask.Flask("desk")
    gate = Headgate()

    @gate.job
    def inside(job: Any) -> str:
        return flask.current_app.name

    gate.init_app(app)
    inside.enqueue()
    assert run(inside, engine.specs[0]) == "desk"
    assert app.extensions["headgate"] is gate


def test_only_a_flask_app_is_taken_for_one() -> None:
    with pytest.raises(ConfigError, match="without Flask write Headgate\\(\\)"):
        Headgate(object())


def test_an_accepted_job_is_202_with_its_signed_address(engine: Engine) -> None:
    app = flask.Flask("desk")
    job = Headgate(app).job(plain)
    app.post("/x")(lambda: job.enqueue("prices").accepted())
    response = app.test_client().post("/x")
    job_id = engine.specs[0].id
    assert response.status_code == 202
    assert response.headers["Retry-After"] == "1"
    path, _, token = response.headers["Location"].partition("?token=")
    assert path == f"/desk/-/jobs/{job_id}"
    assert Tokens("shared").allows(token, "job", job_id)
    body = response.get_json()
    path, _, token = body.pop("stream").partition("?token=")
    assert path == f"/desk/-/streams/jobs/{job_id}"
    assert Tokens("shared").allows(token, "stream", f"jobs/{job_id}")
    assert body == {"id": job_id, "state": "queued", "url": response.headers["Location"]}


def test_a_full_queue_is_503_from_a_view(engine: Engine) -> None:
    app = flask.Flask("desk")
    job = Headgate(app).job(plain)
    app.post("/x")(lambda: job.enqueue("prices").accepted())
    engine.full = True
    response = app.test_client().post("/x")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "7")
    with pytest.raises(Full):
        job.enqueue("prices")


def test_without_a_secret_there_is_no_address(engine: Engine) -> None:
    binding.bind(engine)  # type: ignore[arg-type]
    with pytest.raises(NotHosted, match="HEADGATE_SECRET"):
        JobHandle("1").url  # noqa: B018


def finished(state: JobState, **more: Any) -> JobRecord:
    return JobRecord(spec=JobSpec(id="1", function="f", arguments=b""), state=state, **more)


def test_waiting_gives_the_result_of_a_finished_job(engine: Engine) -> None:
    engine.records["1"] = finished(JobState.SUCCEEDED, result=msgspec.msgpack.encode({"n": 1}))
    assert JobHandle("1").wait() == {"n": 1}


def test_waiting_follows_a_running_one(engine: Engine) -> None:
    engine.records["1"] = finished(JobState.RUNNING)
    engine.after_follow = finished(JobState.SUCCEEDED, result=msgspec.msgpack.encode(5))
    engine.events = [Event(1, "started", None, 0.0), Event(2, "result", {"result": 5}, 0.0, terminal=True)]
    assert JobHandle("1").wait(timeout=3) == 5


def test_waiting_ends_by_what_became_of_the_job(engine: Engine) -> None:
    engine.records["1"] = finished(JobState.FAILED, failure=Failure("KeyError", "'x'", "Traceback …"))
    with pytest.raises(JobFailed, match="KeyError: 'x'") as caught:
        JobHandle("1").wait()
    assert caught.value.traceback == "Traceback …"
    engine.records["1"] = finished(JobState.CANCELLED)
    with pytest.raises(JobCancelled):
        JobHandle("1").wait()
    engine.records["1"] = finished(JobState.RUNNING)
    with pytest.raises(TimeoutError, match="it goes on"):
        JobHandle("1").wait(timeout=0.01)
    with pytest.raises(UnknownJob):
        JobHandle("2").wait()


def test_publish_packs_what_it_is_given(engine: Engine) -> None:
    gate = Headgate()
    gate.publish("desk", {"a": 1})
    gate.publish("desk", "text")
    gate.publish("desk", b"bytes")
    assert [msgspec.msgpack.decode(payload) for _, payload in engine.published] == ['{"a":1}', "text", b"bytes"]


class Side:
    """The worker's side of a job, remembering."""

    def __init__(self) -> None:
        self.events: list[NewEvent] = []
        self.saved: list[bytes] = []
        self.wanted_gone = False

    def emit(self, event: NewEvent) -> None:
        self.events.append(event)

    def save(self, checkpoint: bytes) -> None:
        self.saved.append(checkpoint)

    def cancelled(self) -> bool:
        return self.wanted_gone


def test_a_context_tells_its_worker() -> None:
    side = Side()
    job = JobContext(finished(JobState.RUNNING, checkpoint=msgspec.msgpack.encode(40)), side)
    job.progress(1, 4, table="prices")
    job.log("half way", row=7)
    assert job.checkpoint.get() == 40
    job.checkpoint.set([1, 2])
    assert job.checkpoint.get() == [1, 2]
    assert side.events == [
        NewEvent("progress", {"done": 1, "total": 4, "table": "prices"}),
        NewEvent("log", {"message": "half way", "row": 7}),
    ]
    assert side.saved == [msgspec.msgpack.encode([1, 2])]
    job.raise_if_cancelled()
    side.wanted_gone = True
    assert job.cancelled
    with pytest.raises(JobCancelled):
        job.raise_if_cancelled()
    with pytest.raises(BadArguments, match="checkpoint"):
        job.checkpoint.set(object())


def test_an_unbound_process_connects_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    binding.unbind()
    calls: list[int] = []

    def connector() -> binding.Binding:
        calls.append(1)
        return binding.Binding(engine)  # type: ignore[arg-type]

    monkeypatch.setattr(binding, "_connector", connector)
    job = Headgate().job(plain)
    job.enqueue("a")
    job.enqueue("b")
    assert len(calls) == 1
    binding.unbind()
    monkeypatch.setattr(binding, "_connector", None)
    with pytest.raises(NotHosted, match="headgate run"):
        job.enqueue("c")


def test_sockets_say_that_they_need_the_gateway() -> None:
    app = flask.Flask("desk")
    gate = Headgate(app)

    @gate.socket("/live/<room>")
    def live(sock: Any, message: Any, room: str) -> None: ...

    headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
    response = app.test_client().get("/live/7", headers=headers)
    assert response.status_code == 501
    assert "headgate run" in response.text
    assert live(None, None, room="7") is None


@pytest.mark.parametrize(
    ("rule", "more", "part"), [("live", {}, "begin with a slash"), ("/live", {"format": "xml"}, "'json' and 'raw'")]
)
def test_wrong_sockets_are_told_at_the_decorator(rule: str, more: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        Headgate().socket(rule, **more)(plain)


def test_the_package_gives_its_names_lazily() -> None:
    assert headgate.Headgate is Headgate
    assert headgate.current_job is current_job
    assert "connect" in dir(headgate)
    with pytest.raises(AttributeError, match="it has Backoff"):
        headgate.Headgaet  # noqa: B018
