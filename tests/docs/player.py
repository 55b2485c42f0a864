"""Plays a page as its reader would: writes its files, runs its commands, uses its pages in a browser."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.docs.pages import Block
from tests.support.chromium import Chromium, Page
from tests.support.process import Process
from tests.support.wait import free_port, until


class Player:
    """One reader, in an empty folder.

    The commands are run as they stand, but for the port: 8000 becomes a free one, in the environment and
    in what is typed.

    Args:
        folder: where the reader works; a short path.
        browser: for pages with `browser` directives.
        env: further environment.
    """

    def __init__(self, folder: Path, browser: Chromium | None = None, env: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self.printed = ""
        self._browser = browser
        self._page: Page | None = None
        self._server: Process | None = None
        self._reloads = False
        self._stack = ExitStack()
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._env = {"PATH": path, "HEADGATE_BIND": f"127.0.0.1:{self.port}", "PYTHONUNBUFFERED": "1", **(env or {})}

    def __enter__(self) -> Player:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        if self._server is not None:
            self._server.stop()

    def play(self, blocks: Iterable[Block]) -> int:
        """Play all blocks that say what to do; returns how many did."""
        played = 0
        for block in blocks:
            action = {
                "file": self._file,
                "run": self._run,
                "serve": self._serve,
                "background": self._background,
                "output": self._output,
                "browser": self._browse,
            }.get(block.directive or "")
            if action is not None:
                action(block)
                played += 1
        return played

    def _typed(self, text: str) -> str:
        return text.replace(":8000", f":{self.port}")

    def _file(self, block: Block) -> None:
        path = self.folder / block.value
        path.parent.mkdir(parents=True, exist_ok=True)
        before = self._status()["generation"] if self._reloads else 0
        path.write_text(self._typed(block.text))
        if self._reloads and path.suffix == ".py":
            until(lambda: self._reloaded(before), f"{block.where}: the server has reloaded", 60, every=0.2)

    def _reloaded(self, before: int) -> bool:
        """Whether a newer generation serves, and it alone: the old one would take a message until it has left."""
        status = self._status()
        old = [one for one in status["processes"] if one["role"] == "app" and one["generation"] <= before]
        return status["generation"] > before and not old

    def _status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._command("headgate status --json"))
        return found

    def _run(self, block: Block) -> None:
        self.printed = "".join(self._command(command, block.where) for command in block.commands())

    def _command(self, command: str, where: str = "") -> str:
        done = subprocess.run(
            ["bash", "-c", self._typed(command)],
            cwd=self.folder,
            env={**os.environ, **self._env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, f"{where}: {command}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _serve(self, block: Block) -> None:
        [command] = block.commands()
        words = ["bash", "-c", f"exec {self._typed(command)}"]
        self._server = Process("server", words, self.folder, env=self._env)
        self._server.wait_ready(self._ready, 60)
        until(lambda: self._status()["state"] == "running", f"{block.where}: all processes serve", 60, every=0.2)
        self._reloads = "--reload" in command

    def _background(self, block: Block) -> None:
        """A command of another terminal, which runs until the page's end."""
        [command] = block.commands()
        words = ["bash", "-c", f"exec {self._typed(command).replace('8000', str(self.port))}"]
        process = Process("background", words, self.folder, env=self._env)
        self._stack.callback(process.stop)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _output(self, block: Block) -> None:
        rest = self.printed
        for line in filter(None, map(str.strip, block.text.splitlines())):
            pattern = r"\s+".join(re.escape(word).replace("…", ".*") for word in self._typed(line).split())
            found = re.search(pattern, rest)
            assert found, f"{block.where}: {line!r} was not printed, in this order, in:\n{self.printed}"
            rest = rest[found.end() :]

    def _browse(self, block: Block) -> None:
        """Steps, separated by semicolons: `open /path`, `reload`, `click #id`, `see #id TEXT`."""
        for step in block.value.split(";"):
            verb, _, rest = step.strip().partition(" ")
            if verb == "open":
                self._tab().goto(f"http://127.0.0.1:{self.port}{rest}")
            elif verb == "reload":
                self._tab().reload()
            elif verb == "click":
                self._tab().click(f"{rest}:enabled")
            elif verb == "see":
                selector, _, text = rest.partition(" ")
                content = f"(document.querySelector({json.dumps(selector)})?.innerText ?? '')"
                self._tab().wait_for(f"{content}.includes({json.dumps(text)})", 60)
            else:
                raise AssertionError(f"{block.where}: nobody knows how to {step!r}")
        errors = [error for error in self._tab().errors if "/favicon.ico" not in error]
        assert errors == [], f"{block.where}: {errors}"

    def _tab(self) -> Page:
        if self._page is None:
            assert self._browser is not None, "this page is played without a browser"
            self._page = self._stack.enter_context(self._browser.page())
        return self._page
