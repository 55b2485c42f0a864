"""Requests to an ASGI app that run as jobs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from headgate.apps.offload import INLINE
from headgate.apps.offloaded import AsgiRequestJob
from headgate.base.model import JobRecord, JobSpec, JobState
from headgate.base.offload import StoredResponse
from headgate.declare.arguments import decode
from headgate.declare.context import InPlace, JobContext, current_job
from headgate.declare.extension import Headgate
from headgate.link.messages import Head
from tests.unit.apps.gateway import hosted, scope
from tests.unit.apps.test_offload import PREFER, Engine, engine

__all__ = ["engine"]


def desk() -> Starlette:
    gate = Headgate()
    opened: list[str] = []

    @gate.offload(queue="reports")
    async def report(request: Request) -> Response:
        job = current_job()
        if job is not None:
            job.progress(1, 2)
        size = len(await request.body())
        return JSONResponse({"size": size, "pool": request.state.pool, "opened": len(opened)}, 201, {"x-report": "yes"})

    @gate.offload
    async def lines(request: Request) -> Response:
        async def some() -> AsyncIterator[str]:
            for n in range(3):
                await asyncio.sleep(0)
                yield f"{n}\n"

        return StreamingResponse(some())

    async def breaks(request: Request) -> Response:
        raise ValueError("broken")

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[dict[str, Any]]:
        opened.append("pool")
        yield {"pool": "open"}
        opened.append("closed")

    routes = [
        Route("/report/{year:int}", report, methods=["POST"]),
        Mount("/sub", routes=[Route("/lines", lines)]),
        Route("/breaks", breaks),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def run(app: Any, spec: JobSpec, folder: Path) -> StoredResponse:
    args, kwargs = decode(spec.arguments)
    context = JobContext(JobRecord(spec=spec, state=JobState.RUNNING, tries=1), InPlace())
    response = AsgiRequestJob(app, folder).function().call(context, args, kwargs)
    return msgspec.msgpack.decode(msgspec.msgpack.encode(response), type=StoredResponse)


@pytest.mark.parametrize("size", [3, INLINE + 70_000])
def test_a_marked_route_runs_as_a_job_with_the_lifespan(engine: Engine, tmp_path: Path, size: int) -> None:
    app = desk()
    with hosted(app, tmp_path, asgi=True, bodies=str(tmp_path / "kept")) as host:
        host.gateway.request(scope("POST", "/report/2026", headers=PREFER), b"x" * size)
        head = host.gateway.expect(Head)
    assert (head.status, head.handler) == (202, "POST /report/<int:year> respond-async")
    [spec] = engine.specs
    assert spec.queue == "reports"
    for _ in range(2):
        response = run(app, spec, tmp_path / "kept")
        assert (response.status, dict(response.headers)[b"x-report"]) == (201, b"yes")
        assert json.loads(response.body)["size"] == size
        assert json.loads(response.body)["pool"] == "open"


def test_a_mounted_route_and_one_of_the_settings(engine: Engine, tmp_path: Path) -> None:
    app = desk()
    with hosted(app, tmp_path, asgi=True, offload=("GET /breaks",)) as host:
        assert host.gateway.get("/sub/lines", headers=PREFER)[0] == 202
        assert host.gateway.get("/breaks", headers=PREFER)[0] == 202
    assert run(app, engine.specs[0], tmp_path).body == b"0\n1\n2\n"
    # Starlette answers 500 and raises: what was answered is kept as it was given.
    assert run(app, engine.specs[1], tmp_path).status == 500


def test_an_app_that_raises_before_it_answers_fails_the_job(engine: Engine, tmp_path: Path) -> None:
    async def app(scope_: Any, receive: Any, send: Any) -> None:
        raise ValueError("nothing was answered")

    with hosted(app, tmp_path, asgi=True, offload=("GET *",)) as host:
        assert host.gateway.get("/any", headers=PREFER)[0] == 202
    with pytest.raises(ValueError, match="nothing was answered"):
        run(app, engine.specs[0], tmp_path)


def test_without_the_preference_it_runs_at_once(engine: Engine, tmp_path: Path) -> None:
    with hosted(desk(), tmp_path, asgi=True) as host:
        host.gateway.request(scope("POST", "/report/2026"), b"abc")
        assert host.gateway.expect(Head).status == 201
    assert engine.specs == []
