"""Following RQ's own jobs: what is told of them, also when the engine was away or RQ cannot say."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from headgate.base.errors import ConfigError, Unavailable
from headgate.base.streams import Write
from headgate.config.settings import Settings
from headgate.declare import binding
from headgate.roles.carriers import rq_url
from headgate.rq import Readable, Watcher, watch


class StubEngine:
    """Takes what is told, unless it is away; a place is told once, as streams have it."""

    def __init__(self) -> None:
        self.away = False
        self.told: dict[str, Any] = {}

    def write(self, stream: str, write: Write) -> None:
        if self.away:
            raise Unavailable("away")
        self.told.setdefault(str(write.seq), write.events[0])

    @property
    def kinds(self) -> list[str]:
        return [self.told[place].kind for place in sorted(self.told)]


@pytest.fixture
def engine() -> Iterator[StubEngine]:
    made = StubEngine()
    binding.bind(made, rq_url="redis://127.0.0.1:1")  # type: ignore[arg-type] # all that is asked of it
    yield made
    binding.unbind()


def job(status: str, meta: Any = None, result: Any = None) -> Any:
    said = SimpleNamespace(value=status)
    return SimpleNamespace(get_status=lambda refresh: said, meta=meta or {}, return_value=lambda: result)


def test_an_end_that_the_engine_missed_is_told_at_the_next_look(engine: StubEngine) -> None:
    watcher = Watcher("redis://127.0.0.1:1")
    assert watcher._look("a", job("started"))
    engine.away = True
    for _ in range(2):
        with pytest.raises(Unavailable):
            watcher._look("a", job("finished", {"done": 1}, 7))
    engine.away = False
    assert not watcher._look("a", job("finished", {"done": 1}, 7))
    assert engine.kinds == ["queued", "started", "progress", "result"]
    assert watcher._seen == {}


def test_a_job_that_rq_has_forgotten_has_not_failed(engine: StubEngine) -> None:
    watcher = Watcher("redis://127.0.0.1:1")
    watcher._look("a", job("queued"))
    assert not watcher._look("a", None)
    assert engine.kinds == ["queued", "gone"]
    assert engine.told["9"].terminal


def test_a_job_that_cannot_be_told_leaves_the_others_alone(engine: StubEngine) -> None:
    watcher = Watcher("redis://127.0.0.1:1")
    watcher._look("a", job("started"))
    watcher._look_at("a", SimpleNamespace(get_status=None))  # type: ignore[arg-type] # something that nobody expects
    assert watcher._look("b", job("started"))
    assert list(watcher._seen) == ["b"]


def test_values_that_cannot_be_read_or_told_here_are_words() -> None:
    assert "cannot be read here: ModuleNotFoundError" in Readable.loads(b"cnowhere\nThing\n.")
    assert Readable.loads(Readable.dumps({"n": 1})) == {"n": 1}


def test_a_result_that_is_too_large_a_number_ends_the_job_all_the_same(engine: StubEngine) -> None:
    assert not Watcher("redis://127.0.0.1:1")._look("a", job("finished", result=1 << 80))
    assert engine.kinds == ["queued", "started", "result"]


def test_rqs_redis_is_that_of_the_settings_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flags of `headgate run` are in no file and no variable: they reach workers as their settings alone."""
    asked: list[str] = []
    monkeypatch.setattr(Watcher, "watch", lambda self, job_id: job_id)
    monkeypatch.setattr(Watcher, "__init__", lambda self, url: asked.append(url))
    settings = Settings(broker="redis://127.0.0.1:2/1?namespace=shop")
    binding.bind(StubEngine(), rq_url=rq_url(settings.broker, settings))  # type: ignore[arg-type] # not asked
    assert watch("a") == "a"
    assert asked == ["redis://127.0.0.1:2/1"]
    binding.bind(StubEngine())  # type: ignore[arg-type] # not asked
    with pytest.raises(ConfigError, match="rq_url"):
        watch("a")
    binding.unbind()
