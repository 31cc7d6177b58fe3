"""Contrast, focus, names and widths: whoever reads, with whatever they read."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from browsing import PHONE, Visit, Window
from fill import send_all, sweep
from playwright.sync_api import Browser, Page, expect
from server_process import Server

from worldflux.server.dashboard.assets import STATIC

#: A browser and a server start with a module.
pytestmark = pytest.mark.timeout(180)

AA = 4.5
#: Text -> grounds it stands on.
PAIRS = {
    "text": ("bg", "surface", "sunken", "hover", "chosen"),
    "muted": ("bg", "surface", "sunken", "hover", "chosen", "idle-soft"),
    "faint": ("surface", "hover"),
    "accent": ("bg", "surface", "accent-soft", "hover"),
    "accent-text": ("accent",),
    "ok": ("ok-soft", "surface"),
    "bad": ("bad-soft", "surface"),
    "warn": ("warn-soft", "surface"),
    "info": ("info-soft",),
}
USABLE = "button, a[href], input, select, textarea, img, [role=img]"
PAGES = (
    "/p/pusht",
    "/runs/{run}",
    "/runs/{run}#config",
    "/compare?runs={run},{other}",
    "/settings/keys",
    "/settings/storage",
    "/settings/trusted-keys",
)


@pytest.fixture(scope="module")
def ids(site: Server) -> dict[str, str]:
    """Two runs."""
    runs = list(sweep(6, steps=20))
    send_all(site, runs)
    return {"run": runs[0].run_id, "other": runs[5].run_id}


@pytest.fixture(scope="module")
def phone(browser: Browser) -> Iterator[Window]:
    """A window as narrow as a phone."""
    found = Window(browser, viewport=PHONE)
    yield found
    found.context.close()


def tokens(dark: bool) -> dict[str, str]:
    css = (STATIC / "css" / "base.css").read_text()
    blocks = re.findall(r":root(\[data-theme=\"dark\"\])? \{(.*?)\}", css, re.DOTALL)
    found: dict[str, str] = {}
    for theme, block in blocks:
        if not theme or dark:
            found |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
    return found


def luminance(color: str) -> float:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_has_contrast(dark: bool) -> None:
    """Each colour of text has a contrast of 4.5 to each ground it stands on, in both themes."""
    colors = tokens(dark)
    for text, grounds in PAIRS.items():
        for ground in grounds:
            high, low = sorted((luminance(colors[text]), luminance(colors[ground])), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= AA, (text, ground, (high + 0.05) / (low + 0.05))


def drawn(visit: Visit, path: str, ids: dict[str, str]) -> Page:
    visit.open(path.format(**ids))
    visit.page.wait_for_load_state("networkidle")
    return visit.page


@pytest.mark.parametrize("path", PAGES)
def test_everything_that_can_be_used_has_a_name(visit: Visit, ids: dict[str, str], path: str) -> None:
    """Each button, link and field says what it is to who does not see it; each picture has words."""
    page = drawn(visit, path, ids)
    nameless = page.evaluate(
        """usable => [...document.querySelectorAll(usable)].filter(each => {
            if (!each.checkVisibility()) return false;
            const label = each.labels?.length ? [...each.labels].map(label => label.textContent).join('') : '';
            return !(each.getAttribute('aria-label') || each.alt || each.title || label || each.textContent).trim();
        }).map(each => each.outerHTML.slice(0, 120))""",
        USABLE,
    )
    assert nameless == []
    assert page.title().endswith("WorldFlux") and page.locator("html").get_attribute("lang") == "en"


@pytest.mark.parametrize("path", PAGES)
def test_focus_is_seen_wherever_it_goes(visit: Visit, ids: dict[str, str], path: str) -> None:
    """Tab visits what can be used, and each of them shows that it has the focus."""
    page = drawn(visit, path, ids)
    page.evaluate("() => document.activeElement.blur()")
    seen = set()
    for _ in range(25):
        page.keyboard.press("Tab")
        place, visible = page.evaluate(
            """() => {
                const each = document.activeElement, style = getComputedStyle(each);
                const row = each.classList.contains('grid') ? document.querySelector('.grid-row.current') : null;
                const mark = row && getComputedStyle(row, '::after').borderTopWidth !== '0px';
                const shown = row ? mark : style.outlineStyle !== 'none';
                return [each.tagName + each.className + each.textContent.slice(0, 20), each === document.body || shown];
            }"""
        )
        assert visible, place
        seen.add(place)
    assert len(seen) > 5


@pytest.mark.parametrize("path", [*PAGES, "/settings/members", "/settings/audit"])
def test_nothing_sticks_out_on_a_phone(phone: Window, site: Server, ids: dict[str, str], path: str) -> None:
    """At 390 pixels the page does not scroll sideways; what is wider scrolls in its own place."""
    with Visit.on(phone, site) as visit:
        visit.sign_in()
        page = drawn(visit, path, ids)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= PHONE["width"]


def test_dark_and_light(browser: Browser, site: Server, ids: dict[str, str]) -> None:
    """The page follows the system, a choice holds after coming back, and nothing flashes in the other colour."""
    with Visit.begin(browser, site, color_scheme="dark") as visit:
        visit.sign_in()
        page = drawn(visit, "/p/pusht", ids)
        ground = "() => getComputedStyle(document.body).backgroundColor"
        assert page.evaluate(ground) == "rgb(15, 18, 24)"
        page.get_by_label("Use light colours").click()
        assert page.evaluate(ground) == "rgb(247, 248, 250)"
        page.reload()
        assert page.evaluate(ground) == "rgb(247, 248, 250)"
        page.keyboard.press("t")
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_empty_places_teach_the_next_command(visit: Visit) -> None:
    """Where nothing is yet, the page says what to type."""
    visit.expected.append("404")
    visit.site.call("POST", "/api/projects", json={"slug": "nothing-yet"}, expect=201)
    page = visit.open_runs("/p/nothing-yet")
    expect(page.locator(".empty")).to_contain_text("worldflux auth login")
    expect(page.locator(".empty")).to_contain_text("worldflux sync")
    visit.open_runs("/p/nothing-yet?state=trash")
    expect(page.locator(".empty")).to_contain_text("restored")


def test_the_list_of_keys(visit: Visit, ids: dict[str, str]) -> None:
    """A question mark lists the keys; Escape closes the list."""
    page = visit.open_runs("/p/pusht")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_contain_text("Compare the chosen runs")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_have_count(0)
