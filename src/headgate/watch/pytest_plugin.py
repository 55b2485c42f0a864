"""The pytest plugin: `--fail-on-block=100ms` fails the test that blocks an event loop, and prints the place.

pytest loads this module in every run of whoever has Headgate installed. Without the option it imports nothing more
and hooks nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

MARKER = 'allow_block(reason, match=""): this test may block its event loop, for this reason'


def pytest_addoption(parser: pytest.Parser) -> None:
    """The flags and the ini setting."""
    group = parser.getgroup("headgate watch")
    group.addoption(
        "--fail-on-block",
        metavar="TIME",
        default=None,
        help="Fail tests that block an event loop for longer, such as 100ms; 'any' for any sleep at all in a turn.",
    )
    group.addoption("--block-baseline", metavar="FILE", default=None, help="Places that are known and do not fail.")
    group.addoption(
        "--update-block-baseline", action="store_true", help="Write the places of this run into the baseline."
    )
    parser.addini("block_allow", "Places that may block, one a line: 'PATTERN: reason'", type="linelist", default=[])


def pytest_configure(config: pytest.Config) -> None:
    """Begin, if the option is given."""
    config.addinivalue_line("markers", MARKER)
    if config.getoption("--fail-on-block"):
        from headgate.watch.pytest_session import Session

        config.pluginmanager.register(Session(config), "headgate-watch-session")
