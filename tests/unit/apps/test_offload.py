"""Requests that run as jobs: accepted by an app worker, run by a job worker."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import flask
import msgspec
import pytest

from headgate.apps.offload import INLINE, LONGEST_WAIT, SETTLED, Offloader, Wish, wish_of
from headgate.apps.offloaded import RequestJob
from headgate.base.errors import JobTimeout, QueueFull
from headgate.base.model import Event, JobRecord, JobSpec, JobState, Receipt, new_id
from headgate.base.offload import FUNCTION, StoredResponse
from headgate.declare import binding, registry
from headgate.declare.arguments import decode
from headgate.declare.context import InPlace, JobContext, current_job
from headgate.declare.extension import Headgate
from headgate.link.messages import Head
from tests.unit.apps.gateway import hosted, scope

PREFER = [(b"prefer", b"respond-async")]


class Engine:
    """Remembers the jobs it is given."""

    def __init__(self) -> None:
        self.specs: list[JobSpec] = []
        self.ended: set[str] = set()
        self.full = False
        self.result: bytes | None = None
        """What the job that is waited for leaves; None if it does not end in time."""
        self.waited: list[float | None] = []

    def put(self, specs: Sequence[JobSpec]) -> Sequence[Receipt]:
        if self.full:
            raise QueueFull("full", retry_after=9)
        self.specs += specs
        return [Receipt(spec.id) for spec in specs]

    def get(self, job_id: str) -> JobRecord | None:
        state = JobState.SUCCEEDED if job_id in self.ended else JobState.QUEUED
        found = (JobRecord(spec=spec, state=state, result=self.result) for spec in self.specs if spec.id == job_id)
        return next(found, None)

    def follow(
        self, stream: str, after: int = 0, *, timeout: float | None = None, until: float | None = None
    ) -> Iterator[Event]:
        self.waited.append(None if until is None else until - time.monotonic())
        yield Event(1, "queued", {}, 0.0)
        if self.result is None:
            raise TimeoutError
        self.ended.add(stream.removeprefix("jobs/"))
        yield Event(2, "result", {}, 0.0, terminal=True)


@pytest.fixture(autouse=True)
def engine() -> Iterator[Engine]:
    registry.clear()
    engine = Engine()
    binding.bind(engine, secret="shared")  # type: ignore[arg-type]
    yield engine
    binding.unbind()
    registry.clear()


def desk() -> flask.Flask:
    app = flask.Flask("desk")
    app.secret_key = "for the test"
    gate = Headgate(app)

    @app.route("/report/<int:year>", methods=["GET", "POST"])
    @gate.offload(queue="reports", timeout=60)
    def report(year: int) -> Any:
        job = current_job()
        if job is not None:
            job.progress(1, 2)
        answer = {"year": year, "size": len(flask.request.get_data()), "user": flask.session.get("user")}
        return answer, 201, {"X-Report": "yes"}

    @app.get("/late")
    @gate.offload
    def late() -> Any:
        raise JobTimeout("past its time")

    @app.get("/plain")
    def plain() -> Any:
        return "plain"

    return app


def run(app: Any, spec: JobSpec, folder: Path) -> Any:
    args, kwargs = decode(spec.arguments)
    context = JobContext(JobRecord(spec=spec, state=JobState.RUNNING, tries=1), InPlace())
    return RequestJob(app, folder).function().call(context, args, kwargs)


def test_a_request_that_prefers_so_is_accepted_and_run_as_a_job(engine: Engine, tmp_path: Path) -> None:
    app = desk()
    cookie = session_cookie(app)
    with hosted(app, tmp_path, bodies=str(tmp_path / "kept")) as host:
        host.gateway.request(scope("POST", "/report/2026", headers=[*PREFER, (b"cookie", cookie)]), b"abc")
        head = host.gateway.expect(Head)
    headers = dict(head.headers)
    [spec] = engine.specs
    assert head.status == 202
    assert head.handler == "POST /report/<int:year> respond-async"
    assert headers[b"preference-applied"] == b"respond-async"
    assert headers[b"location"].startswith(f"/-/jobs/{spec.id}?token=".encode())
    assert json.loads(head.body)["id"] == spec.id
    assert (spec.function, spec.queue, spec.timeout) == (FUNCTION, "reports", 60)
    response = run(app, spec, tmp_path / "kept")
    assert isinstance(response, StoredResponse)
    assert response.status == 201
    assert dict(response.headers)[b"x-report"] == b"yes"
    assert json.loads(response.body) == {"year": 2026, "size": 3, "user": "ann"}
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(response), type=StoredResponse) == response


def session_cookie(app: flask.Flask) -> bytes:
    @app.get("/login")
    def login() -> str:
        flask.session["user"] = "ann"
        return "in"

    return app.test_client().get("/login").headers["Set-Cookie"].partition(";")[0].encode()


def test_a_large_body_outlives_its_request_and_is_swept_after_its_job(engine: Engine, tmp_path: Path) -> None:
    app, kept, spool = desk(), tmp_path / "kept", tmp_path / "body"
    spool.write_bytes(b"x" * 300_000)
    with hosted(app, tmp_path, bodies=str(kept)) as host:
        host.gateway.request(scope("POST", "/report/1", headers=PREFER), body_path=str(spool))
        assert host.gateway.expect(Head).status == 202
    spool.unlink()
    [spec] = engine.specs
    assert json.loads(run(app, spec, kept).body)["size"] == 300_000
    assert json.loads(run(app, spec, kept).body)["size"] == 300_000, "a job may run a second time"
    offloader = Offloader({}, kept)
    long_ago = os.stat(kept / spec.id).st_mtime - 2 * SETTLED
    offloader.sweep()
    os.utime(kept / spec.id, (long_ago, long_ago))
    offloader.sweep()
    assert (kept / spec.id).exists()
    engine.ended.add(spec.id)
    offloader.sweep()
    assert list(kept.iterdir()) == []


def test_without_the_preference_or_the_mark_it_runs_at_once(engine: Engine, tmp_path: Path) -> None:
    with hosted(desk(), tmp_path) as host:
        assert host.gateway.get("/report/2026")[0] == 201
        assert host.gateway.get("/plain", headers=PREFER)[2] == b"plain"
    assert engine.specs == []


def test_a_pattern_of_the_settings_marks_routes_too(engine: Engine, tmp_path: Path) -> None:
    with hosted(desk(), tmp_path, offload=("GET /pl*",)) as host:
        assert host.gateway.get("/plain", headers=PREFER)[0] == 202
    assert engine.specs[0].queue == "requests"
    assert run(desk(), engine.specs[0], tmp_path).body == b"plain"


def test_a_full_queue_is_503_and_keeps_no_body(engine: Engine, tmp_path: Path) -> None:
    engine.full = True
    spool = tmp_path / "body"
    spool.write_bytes(b"x" * 300_000)
    with hosted(desk(), tmp_path, bodies=str(tmp_path / "kept")) as host:
        host.gateway.request(scope("POST", "/report/1", headers=PREFER), body_path=str(spool))
        head = host.gateway.expect(Head)
    assert (head.status, dict(head.headers)[b"retry-after"]) == (503, b"9")
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_timeout_in_the_view_is_the_jobs_and_not_a_500(engine: Engine, tmp_path: Path) -> None:
    app = desk()
    with hosted(app, tmp_path) as host:
        assert host.gateway.get("/late", headers=PREFER)[0] == 202
    with pytest.raises(JobTimeout, match="past its time"):
        run(app, engine.specs[0], tmp_path)


def test_who_would_rather_wait_gets_the_response_itself_if_it_comes_in_time(engine: Engine, tmp_path: Path) -> None:
    wait = [(b"prefer", b"respond-async, wait=7")]
    with hosted(desk(), tmp_path) as host:
        engine.result = msgspec.msgpack.encode(StoredResponse(201, [(b"x-report", b"yes")], b"done"))
        host.gateway.request(scope("GET", "/report/1", headers=wait))
        head = host.gateway.expect(Head)
        assert (head.status, head.body, head.handler) == (201, b"done", "GET /report/<int:year> respond-async, wait")
        assert dict(head.headers)[b"x-report"] == b"yes"
        assert dict(head.headers)[b"preference-applied"] == b"wait=7"
        engine.result = None
        host.gateway.request(scope("GET", "/report/1", headers=wait))
        assert host.gateway.expect(Head).status == 202
    assert [waited is not None and 0 < waited <= 7 for waited in engine.waited] == [True, True]
    assert wish_of([(b"prefer", b"wait=900"), (b"prefer", b"respond-async")]) == Wish(LONGEST_WAIT)


def test_a_body_too_large_to_travel_is_kept_as_a_file(engine: Engine, tmp_path: Path) -> None:
    app = desk()
    with hosted(app, tmp_path, bodies=str(tmp_path / "kept")) as host:
        host.gateway.request(scope("POST", "/report/1", headers=PREFER), b"x" * (INLINE + 1))
        assert host.gateway.expect(Head).status == 202
    [spec] = engine.specs
    assert len(spec.arguments) < 10_000
    assert json.loads(run(app, spec, tmp_path / "kept").body)["size"] == INLINE + 1


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (b"respond-async", True),
        (b"Respond-Async; x=1", True),
        (b"return=minimal, respond-async, wait=10", True),
        (b"respond-asynchronously", False),
        (b"wait=10", False),
    ],
)
def test_the_prefer_header(value: bytes, wanted: bool) -> None:
    assert (wish_of([(b"host", b"x"), (b"prefer", value)]) is not None) is wanted


@pytest.mark.parametrize("state", JobState)
def test_only_a_success_frees_the_body_since_an_operator_may_put_the_others_back(
    engine: Engine, tmp_path: Path, state: JobState, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = JobSpec(id=new_id(), function=FUNCTION, arguments=b"")
    monkeypatch.setattr(engine, "get", lambda _: JobRecord(spec=spec, state=state))
    body = tmp_path / spec.id
    body.write_bytes(b"x")
    os.utime(body, (1.0, 1.0))
    Offloader({}, tmp_path).sweep()
    assert body.exists() is (state is not JobState.SUCCEEDED)
