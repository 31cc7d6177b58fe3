"""A browser window that notices everything a page should not do."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from server_process import Server

DESK = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}


@contextlib.contextmanager
def launched() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    program = shutil.which("chromium")
    if program is None:
        if os.environ.get("WORLDFLUX_TEST_REQUIRE_ALL"):
            pytest.fail("Chromium is not installed: see tests/missing-packages")
        pytest.skip("Chromium is not installed")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield found
        found.close()


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
        """Open a window; when it closes, every trouble that was not expected fails the test."""
        context = browser.new_context(**{"viewport": DESK, "reduced_motion": "reduce", **options})
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
        context.close()
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
