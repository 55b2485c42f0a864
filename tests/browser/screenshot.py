"""Takes the README's picture of the demonstration: `python -m tests.browser.screenshot`, on a quiet machine.

The demonstration is started, both kinds of work run once alone and once together, and the minute is pictured.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.browser.test_demo import ROOT, ready
from tests.support.chromium import Chromium, Page
from tests.support.process import Process
from tests.support.wait import free_port

MINUTE = [(14, "#job"), (15, "#inline"), (15, "#job"), (3, "#inline"), (5, None)]
"""What is clicked after so many seconds."""


def play(page: Page) -> None:
    for seconds, button in MINUTE:
        time.sleep(seconds)
        if button is not None:
            page.click(button)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("path", type=Path, nargs="?", default=ROOT / "docs/images/demo.png")
    options.add_argument("--size", default="1280x800", help="of the window, in CSS pixels")
    options.add_argument("--dark", action="store_true")
    given = options.parse_args()
    width, _, height = given.size.partition("x")
    url = f"http://127.0.0.1:{(port := free_port())}"
    with tempfile.TemporaryDirectory(prefix="hg-", dir="/tmp") as folder, Chromium() as browser:
        words = ["--port", str(port), "--data", f"{folder}/d", "--no-browser"]
        server = Process("demo", [sys.executable, "-m", "examples.demo", *words], Path(folder), cwd=ROOT)
        server.wait_ready(lambda: ready(url), 60)
        with browser.page(int(width), int(height)) as page:
            scheme = "dark" if given.dark else "light"
            page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            page.goto(url)
            play(page)
            page.evaluate("scrollTo(0, 0)")
            page.screenshot(given.path)
        server.stop()


if __name__ == "__main__":
    main()
