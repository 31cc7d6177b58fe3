"""A run with more metrics than a page has room for: each of them is found."""

from __future__ import annotations

import json

import pytest
from browsing import Visit
from playwright.sync_api import Page, expect
from sent_runs import SentRun, send

#: A browser and a server start with a module.
pytestmark = pytest.mark.timeout(180)


def opened(visit: Visit, count: int) -> Page:
    rows = [{"name": f"m{n:05}", "value": n + step, "step": step} for n in range(count) for step in (0, 1)]
    run = SentRun(series=b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    send(visit.site, *run.frames(), expect=200)
    return visit.open(f"/runs/{run.run_id}#metrics", ".chart")


@pytest.mark.parametrize("count", [130, 10_050], ids=["names-here", "names-on-the-server"])
def test_every_metric_is_found_by_its_name(visit: Visit, count: int) -> None:
    """The page says how many it does not show; a part of a name brings up any of those, drawn, and only those."""
    page = opened(visit, count)
    shown, said = page.locator(".chart:not([hidden])"), page.get_by_role("status").filter(has_text="met")
    expect(shown).to_have_count(120)
    expect(said).to_have_text(f"{count - 120} more metrics have curves; find them by name.")
    find, last = page.get_by_label("Find a metric"), f"m{count - 1:05}"
    find.fill(last.upper())
    expect(shown).to_have_count(1)
    expect(shown.locator("h3")).to_have_text(last)
    shown.locator(".scatterlayer .trace").first.wait_for()
    find.fill("0012")
    expect(shown).to_have_count(11 if count == 130 else 12)
    find.fill("nothing")
    expect(shown).to_have_count(0)
    expect(page.get_by_text("No metric has this in its name.")).to_be_visible()
    find.fill("")
    expect(shown).to_have_count(120)


def test_a_search_that_finds_many_says_so_and_keeps_few(visit: Visit) -> None:
    """Of more finds than there is room for the number is told; what is no longer wanted does not pile up."""
    page = opened(visit, 1000)
    find, shown = page.get_by_label("Find a metric"), page.locator(".chart:not([hidden])")
    for part in ("m001", "m002", "m003", "m004"):
        find.fill(part)
        expect(shown).to_have_count(100)
        expect(shown.first.locator("h3")).to_contain_text(part)
    assert page.locator(".chart").count() <= 240
    find.fill("m00")
    expect(page.get_by_text("880 more have this in their names; a longer text finds fewer.")).to_be_visible()
