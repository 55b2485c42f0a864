"""Short pieces of Python, read by their tokens."""

from __future__ import annotations

import ast
import gc
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.watch import calls, expressions
from headgate.watch.stacks import Frame


@pytest.mark.parametrize(
    ("line", "function"),
    [
        ("rows = sorted(rows)", "sorted"),
        ("return f(g(x))", "f"),
        ("a.b(c).d(e)", "a.b(c).d"),
        ("'a'.join(b(c))", "'a'.join"),
        ("foo()[0].bar(1)", "foo()[0].bar"),
        ("with open(path) as file:", "open"),
        ("async with session.get(url) as answer:", "session.get"),
        ("for row in table.rows(1):", "table.rows"),
        ("if f(x) and g(y):", "f"),
        ("found[f(x)] = g(y)", "g"),
        ("[f(x) for x in y]", "f"),
        ("await asyncio.sleep(1)", "asyncio.sleep"),
        ("session.execute(", "session.execute"),
        ('text = "a(b" + f(c)', "f"),
        ("(a + b).c(1)  # d(e)", "(a + b).c"),
        ("importer(x)", "importer"),
    ],
)
def test_the_outermost_call_of_a_line(line: str, function: str) -> None:
    found = expressions.on_line(line)
    assert found is not None
    assert found.function == function


@pytest.mark.parametrize(
    ("line", "text"),
    [("total = a * b", "a * b"), ("x = [i for i in y]", "[i for i in y]"), ("return (a + b)", "(a + b)")],
)
def test_a_line_without_a_call_is_what_it_works_out(line: str, text: str) -> None:
    assert expressions.on_line(line) == expressions.Expression(text)


@pytest.mark.parametrize(
    "line",
    ["def f(x):", "async def f(x):", "class A(B):", "@app.get('/x')", "b, c)", "x = -1", "x += y", "return", "", "'a",
     "except (A, B):", "s = 'a(b)'", "from a import (b, c)", "pass", "}", "\\", "\0"],
)  # fmt: skip
def test_other_lines_call_nothing(line: str) -> None:
    assert expressions.on_line(line) is None


def test_an_expression_and_its_arguments() -> None:
    found = expressions.read("await run(\n    'select 1'\n    ' from x',\n    [1, 2], *rest, n=(3, 4), **more)")
    assert found is not None
    assert (found.function, found.arguments) == ("run", ("'select 1' ' from x'", "[1, 2]"))
    assert expressions.read("a(b) + c(d)") == expressions.Expression("a(b) + c(d)")
    assert expressions.read("a.b") == expressions.Expression("a.b")
    assert expressions.read("a) + (b") is None
    assert expressions.read("") is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'a' \"b\"", "ab"),
        ("b'\\x01'", b"\x01"),
        ("'''a\n'''", "a\n"),
        ("f'select {x + 1}'", "select {x + 1}"),
        ("'a' f'{b}'", "a{b}"),
        ("f'''{b}c'''", "{b}c"),
        ("r'\\n'", "\\n"),
        ("3", None),
        ("x", None),
        ("'a' + b", None),
        ("'a", None),
    ],
)
def test_the_value_of_a_literal(text: str, value: str | bytes | None) -> None:
    assert expressions.literal(text) == value


def test_names_and_attributes() -> None:
    assert expressions.path("a.b.c") == ("a", "b", "c")
    assert expressions.path("'x'.join") == ("'x'", "join")
    assert [expressions.path(text) for text in ("a[0].b", "a b", "a.", "f().b", "")] == [()] * 5


@pytest.fixture
def busy_collector() -> Iterator[None]:
    """A collector that runs often, and Python code in it, so that threads change in the middle of a parse."""
    before, every = gc.get_threshold(), sys.getswitchinterval()

    def look(phase: str, info: dict[str, int]) -> None:
        sum(range(50))

    gc.callbacks.append(look)
    gc.set_threshold(50)
    sys.setswitchinterval(1e-5)
    yield
    gc.callbacks.remove(look)
    gc.set_threshold(*before)
    sys.setswitchinterval(every)


def test_a_look_beside_a_parse_of_the_service_does_not_break_it(busy_collector: None, tmp_path: Path) -> None:
    source = tmp_path / "app.py"
    source.write_text("".join(f"x{n} = call{n}(a.b.c({n}), [i for i in y])\n" for n in range(5000)))
    ended = threading.Event()
    looked: list[str] = []

    def look() -> None:
        while not ended.is_set():
            looked.append(calls.spelled(calls.on_line(Frame(str(source), len(looked) % 5000 + 1, ""))))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(400):
            ast.parse("def f():\n  return [i + 1 for i in (a(b), c.d, e)]\n" * 30)
    finally:
        ended.set()
        looking.join()
    assert looked[:2] == ["call0", "call1"]


def test_the_watch_never_uses_the_parser() -> None:
    for file in Path(expressions.__file__).parent.glob("*.py"):
        assert "ast" not in {
            name.name
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Import)
            for name in node.names
        }, file
