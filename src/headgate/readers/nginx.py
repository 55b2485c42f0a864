"""nginx configurations, parsed by crossplane, as a tree with places and inheritance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headgate.base.errors import ConfigError
from headgate.readers.place import Place
from headgate.readers.value import Value


@dataclass
class Block:
    """A directive, with what is in its braces."""

    name: str
    args: list[str]
    place: Place
    parent: Block | None
    inner: list[Block] = field(default_factory=list)

    def own(self, name: str) -> list[Block]:
        """Directives of the name in this block itself."""
        return [each for each in self.inner if each.name == name]

    def inherited(self, name: str) -> Block | None:
        """The last directive of the name here, else of the block around, and so on: nginx's rule for most of them."""
        found = self.own(name)
        if found:
            return found[-1]
        return self.parent.inherited(name) if self.parent is not None else None

    def headers(self) -> list[Block]:
        """The `proxy_set_header` that hold here: those of the innermost block that has any (ngx_http_proxy_module)."""
        own = self.own("proxy_set_header")
        if own or self.parent is None:
            return own
        return self.parent.headers()

    def all(self, name: str) -> Iterator[Block]:
        """Directives of the name, here and in all blocks within."""
        for each in self.inner:
            if each.name == name:
                yield each
            yield from each.all(name)

    @property
    def value(self) -> Value:
        return Value(" ".join(self.args), self.place)


def read(path: Path, shown: str) -> Block | None:
    """Parse a configuration with what it includes; None when nothing in it can be parsed.

    Raises:
        ConfigError: crossplane is not installed.
    """
    try:
        import crossplane
    except ImportError:
        raise ConfigError(
            f"{shown} is an nginx configuration, and reading it needs crossplane: pip install 'headgate[doctor]'."
        ) from None
    # One file may be a snippet for somebody's http block, so that contexts are not checked.
    parsed = crossplane.parse(str(path), catch_errors=True, check_ctx=False, check_args=False)
    files = {each["file"]: each for each in parsed["config"]}
    order = [each["file"] for each in parsed["config"]]
    root = Block("", [], Place(shown, 1), None)
    if not order or not files[order[0]]["parsed"]:
        return None
    _fill(root, files[order[0]]["parsed"], order[0], files, order, (str(path), shown))
    return root


def _fill(
    block: Block,
    statements: list[dict[str, Any]],
    file: str,
    files: dict[str, Any],
    order: list[str],
    named: tuple[str, str],
) -> None:
    shown = named[1] if file == named[0] else file
    for statement in statements:
        if statement["directive"] == "include":
            for index in statement.get("includes", []):
                included = order[index]
                _fill(block, files[included]["parsed"], included, files, order, named)
            continue
        text = " ".join([statement["directive"], *statement["args"]])
        child = Block(statement["directive"], statement["args"], Place(shown, statement["line"], text), block)
        block.inner.append(child)
        _fill(child, statement.get("block") or [], file, files, order, named)
