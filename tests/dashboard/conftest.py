"""Fixtures of the dashboard's tests: a real server, a real browser, and a watch on what the pages do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# The server's tests have the helpers that start one and send runs to it.
sys.path.append(str(Path(__file__).parents[1] / "server"))

from browsing import Visit, Window, launched
from playwright.sync_api import Browser
from server_process import Server, start


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium. One for each module: its event loop must not outlive the tests that want it."""
    with launched() as found:
        yield found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that the tests of a module share."""
    running = start(tmp_path_factory.mktemp("site") / "data")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def window(browser: Browser) -> Iterator[Window]:
    """The window in which the tests of a module have their tabs, each as if it were the first."""
    found = Window(browser)
    yield found
    found.context.close()


@pytest.fixture
def visit(window: Window, site: Server) -> Iterator[Visit]:
    """A signed-in tab on the server; ends with a check that no page erred, asked, or called elsewhere."""
    with Visit.on(window, site) as found:
        found.sign_in()
        yield found


@pytest.fixture
def stranger(window: Window, site: Server) -> Iterator[Visit]:
    """The same for somebody who is not signed in."""
    with Visit.on(window, site) as found:
        yield found
