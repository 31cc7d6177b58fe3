"""A browser window that notices everything a page should not do."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from server_process import Server

DESK = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
# What a page shows may take long on a busy machine; what it never shows fails as well after a minute.
expect.set_options(timeout=60_000)

LOOK: dict[str, Any] = {"viewport": DESK, "reduced_motion": "reduce"}


@contextlib.contextmanager
def launched() -> Iterator[Browser]:
    """Debian's Chromium, without a window.

    The build that never has one draws the same pages with half of the processor time.
    """
    program = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    if program is None:
        if os.environ.get("WORLDFLUX_TEST_REQUIRE_ALL"):
            pytest.fail("Chromium is not installed: see tests/missing-packages")
        pytest.skip("Chromium is not installed")
    # All pages are of one site, so that one process may draw one after the other.
    words = ["--no-sandbox", "--disable-dev-shm-usage", "--renderer-process-limit=1"]
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=words)
        yield found
        found.close()


class Window:
    """A window whose tabs come one after the other: what was read and compiled once need not be again.

    A window costs a second of processor time, and so do the scripts of a page in a new one.
    """

    def __init__(self, browser: Browser, **options: Any) -> None:
        self.context = browser.new_context(**{**LOOK, **options})
        self.first = self.context.new_page()
        self._line = self.context.new_cdp_session(self.first)

    def forget(self, origin: str) -> None:
        """Leave no cookie, no permission and nothing stored for the next tab."""
        self.context.clear_cookies()
        self.context.clear_permissions()
        self.context.set_offline(False)
        self._line.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"})


@dataclass
class Visit:
    """One window on a server.

    Attributes:
        expected: parts of messages that a test causes on purpose, such as `422`.
        trouble: what pages did wrong so far.
        addresses: every address that was asked for.
    """

    context: BrowserContext
    page: Page
    site: Server
    expected: list[str] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)

    @classmethod
    @contextlib.contextmanager
    def begin(cls, browser: Browser, site: Server, **options: Any) -> Iterator[Visit]:
        """Open a window of its own; when it closes, every trouble that was not expected fails the test."""
        context = browser.new_context(**{**LOOK, **options})
        with cls._watched(context, site) as visit:
            yield visit
            context.close()

    @classmethod
    @contextlib.contextmanager
    def on(cls, window: Window, site: Server) -> Iterator[Visit]:
        """The same in a new tab of a window that keeps nothing but what it fetched before."""
        with cls._watched(window.context, site) as visit:
            yield visit
            for page in window.context.pages:
                if page is not window.first:
                    page.close()
            window.forget(site.url)

    @classmethod
    @contextlib.contextmanager
    def _watched(cls, context: BrowserContext, site: Server) -> Iterator[Visit]:
        page = context.new_page()
        page.set_default_timeout(60_000)
        visit = cls(context, page, site)
        page.on("console", lambda said: visit.note(said.type, f"{said.text} {said.location.get('url', '')}"))
        page.on("pageerror", lambda error: visit.trouble.append(f"error: {error}"))
        page.on(
            "dialog", lambda dialog: (visit.trouble.append(f"dialog: {dialog.message}"), dialog.dismiss())
        )
        page.on("request", lambda request: visit.addresses.append(request.url))
        yield visit
        wrong = [each for each in visit.trouble if not any(part in each for part in visit.expected)]
        assert not wrong, wrong
        away = [url for url in visit.addresses if not url.startswith((site.url + "/", "blob:", "data:"))]
        assert not away, away

    def note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning", "assert"):
            self.trouble.append(f"console {kind}: {text}")

    def sign_in(self, key: str = "") -> None:
        """Get a session by key, through the API that the page uses."""
        answer = self.context.request.post(
            f"{self.site.url}/api/session",
            data={"key": key or self.site.key},
            headers={"Origin": self.site.url},
        )
        assert answer.status == 201, answer.text()

    def open(self, path: str, wait: str = "") -> Page:
        """Go to a page and wait for something on it."""
        self.page.goto(self.site.url + path)
        if wait:
            self.page.wait_for_selector(wait)
        return self.page

    def open_runs(self, path: str = "/") -> Page:
        """Go to the table of runs and wait until it is drawn."""
        self.open(path)
        self.page.wait_for_selector(".grid:not([aria-busy]), .groups")
        self.page.wait_for_selector("#total, .groups, .empty, .filter-error:not([hidden])")
        return self.page

    def names(self) -> list[str]:
        """The runs in sight, from top to bottom."""
        found: list[str] = self.page.evaluate(
            """() => [...document.querySelectorAll('.grid-body .grid-row:not(.waiting)')]
                .sort((a, b) => a.dataset.place - b.dataset.place)
                .map(row => row.querySelector('.open').textContent)"""
        )
        return found

    def heads(self) -> list[str]:
        """The columns, from left to right."""
        found: list[str] = self.page.evaluate(
            "() => [...document.querySelectorAll('.grid-head [data-column]')].map(head => head.dataset.column)"
        )
        return found

    def total(self) -> str:
        """The number of runs above the table."""
        return self.page.locator("#total strong").inner_text()

    def cell(self, name: str, column: str) -> str:
        """What the table shows of a run in a column."""
        found: str = self.page.evaluate(
            """([name, column]) => {
                const heads = [...document.querySelectorAll('.grid-head > div')].map(head => head.dataset.column);
                const rows = [...document.querySelectorAll('.grid-row')];
                const row = rows.find(row => row.querySelector('.open')?.textContent === name);
                return row.children[heads.indexOf(column)].innerText;
            }""",
            [name, column],
        )
        return found

    def module(self, name: str, code: str, argument: Any = None) -> Any:
        """Run code with one of the dashboard's modules: `code` is a function of (module, argument)."""
        build = self.page.evaluate("() => document.querySelector('script[type=module]').src.split('/')[4]")
        return self.page.evaluate(
            f"async (argument) => ({code})(await import('/static/{build}/js/{name}'), argument)", argument
        )
