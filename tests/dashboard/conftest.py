"""Fixtures of the dashboard's tests: a real server, a real browser, and a watch on what the pages do."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# The server's tests have the helpers that start one and send runs to it.
sys.path.append(str(Path(__file__).parents[1] / "server"))

from browsing import Visit, Window, launched
from playwright.sync_api import Browser
from server_process import Server, start

#: What ends the browser that is running, and the browser.
_running, _browsers = contextlib.ExitStack(), list[Browser]()


@pytest.fixture(scope="module")
def browser() -> Browser:
    """A headless Chromium. One for all tests of this folder that come one after the other in a process."""
    if not any(each.is_connected() for each in _browsers):
        _end_browser()
        _browsers.append(_running.enter_context(launched()))
    return _browsers[-1]


def _end_browser() -> None:
    _browsers.clear()
    _running.close()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """End the browser when another test comes: its event loop must not outlive the tests that want it."""
    try:
        yield
    finally:
        if nextitem is None or nextitem.path.parent != item.path.parent:
            _end_browser()


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
