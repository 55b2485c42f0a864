"""A headless Chromium, driven over its DevTools protocol: no driver program, no browser download.

The protocol is JSON over a WebSocket (chromedevtools.github.io/devtools-protocol): commands with an id,
answered with the same id, and events in between.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from websockets.sync.client import ClientConnection, connect

from tests.support.folders import short_folder
from tests.support.process import Process, program
from tests.support.wait import until

FLAGS = [
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",  # a test's browser has no business outside loopback
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
]


class Page:
    """One tab. What the page logs as an error, and what it throws, is collected in `errors`."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._sent = 0
        self.errors: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """One command; returns its result. Events that come before the answer are noted."""
        self._sent += 1
        self._connection.send(json.dumps({"id": self._sent, "method": method, "params": params}))
        while True:
            message = json.loads(self._connection.recv(timeout=20))
            if message.get("id") == self._sent:
                if "error" in message:
                    raise AssertionError(f"{method}: {message['error']['message']}")
                return message["result"]
            self._note(message)

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif event.get("method") == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.errors.append(" ".join(str(arg.get("value", arg.get("description"))) for arg in params["args"]))
        elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(f"{params['entry']['text']} ({params['entry'].get('url', '')})")

    def goto(self, url: str, seconds: float = 20.0) -> None:
        """Open a page and wait until it is loaded."""
        result = self.call("Page.navigate", url=url)
        if result.get("errorText"):
            raise AssertionError(f"{url}: {result['errorText']}")
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'", seconds)

    def reload(self) -> None:
        self.call("Page.reload")
        self.wait_for("document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; promises are awaited."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise AssertionError(details.get("exception", {}).get("description") or details["text"])
        return result["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 15.0) -> Any:
        """Wait until the expression is true; returns its value."""
        return until(lambda: self.evaluate(expression), f"the page: {expression}", seconds, every=0.05)

    def text(self, selector: str) -> str:
        """The text of the first element that matches, after waiting for one."""
        quoted = json.dumps(selector)
        self.wait_for(f"document.querySelector({quoted}) !== null")
        return str(self.evaluate(f"document.querySelector({quoted}).innerText"))

    def click(self, selector: str) -> None:
        """A real mouse click into the middle of the first element that matches."""
        quoted = json.dumps(selector)
        self.wait_for(f"document.querySelector({quoted}) !== null")
        box = self.evaluate(
            f"(() => {{ const e = document.querySelector({quoted}); e.scrollIntoView({{block: 'center'}});"
            " const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def size(self, width: int, height: int) -> None:
        """The window's size in CSS pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def screenshot(self, path: Path, *, whole: bool = False) -> Path:
        """A PNG of what is seen, or of the whole page."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))
        return path


class Chromium:
    """A browser of this test run, with an empty profile."""

    def __init__(self) -> None:
        self.folder = short_folder("chromium")
        profile = self.folder / "profile"
        sandbox = ["--no-sandbox"] if os.getuid() == 0 else []  # Chromium's sandbox refuses root
        command = [program("chromium", "chromium-browser", "google-chrome"), *FLAGS, *sandbox]
        command += [f"--user-data-dir={profile}", "about:blank"]
        environment = {"HOME": str(self.folder), "DBUS_SESSION_BUS_ADDRESS": "/dev/null"}
        self.process = Process("chromium", command, self.folder, env=environment)
        port_file = profile / "DevToolsActivePort"
        self.process.wait_ready(lambda: port_file.exists() and port_file.read_text().count("\n") >= 1, 30)
        self.port = int(port_file.read_text().split("\n")[0])

    @contextmanager
    def page(self, width: int = 1280, height: int = 800) -> Iterator[Page]:
        """A new tab, in a window of this size."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/json/new?about:blank", method="PUT")
        with urllib.request.urlopen(request, timeout=10) as answer:
            target = json.load(answer)
        with connect(target["webSocketDebuggerUrl"], max_size=None, proxy=None) as connection:
            page = Page(connection)
            page.size(width, height)
            yield page

    def close(self) -> None:
        self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
