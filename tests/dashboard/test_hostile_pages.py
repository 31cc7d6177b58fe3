"""Whatever stands in a name, a setting, a log or a file name is shown as text: no error, no dialog, no request."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from browsing import Visit
from fill import VariedRun, cost, send_all
from films import png
from naughty import LINES, PATHS, SHORT, STRINGS
from nightly import part
from playwright.sync_api import expect
from richrun import ENVIRONMENT
from server_process import Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

UNITS = [each[:32] for each in STRINGS]
SHEET = "\n".join('"' + each.replace('"', '""') + '",1' for each in STRINGS)
#: Ending -> media type as a manifest claims it, and bytes.
FILES = {
    "png": ("image/png", png(8, 200, 90, 20)),
    "json": ("application/json", json.dumps({each: each for each in STRINGS}).encode()),
    "csv": ("text/csv", SHEET.encode()),
    "txt": ("text/plain", "\n".join(STRINGS).encode()),
    "html": ("text/html", b"<script>alert(30)</script>"),
    "svg": ("image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(31)'/>"),
}


def hostile(number: int) -> VariedRun:
    """A run in which every text is hostile; each of the strings comes first in one of the runs."""
    turned = STRINGS[number:] + STRINGS[:number]
    text, unit = turned[0], UNITS[number]
    names = [each[:100] for each in turned[:12]]
    points = [{"name": name, "step": step, "value": step / 7} for name in names[:4] for step in range(5)]
    labels = list(dict.fromkeys(each[:60] for each in PATHS[number % 30 : number % 30 + 6]))
    files = {
        f"{label}-{at}.{end}": FILES[end] for at, (label, end) in enumerate(zip(labels, FILES, strict=False))
    }
    facts = {"known_issues": turned[:6], "title": text, "maturity": text, "license": {text: text}}
    return VariedRun(
        project="hostile",
        name=text,
        tags=sorted({each[:64] for each in turned[:5]}),
        metrics={name: {"value": 0.5, "step": 1, "kind": "value", "unit": unit} for name in names},
        series=b"".join(json.dumps(point).encode() + b"\n" for point in points),
        params={
            "recipe": "push-eval", "seed": number, "params": {each: turned[at] for at, each in enumerate(turned[:20])}
        },
        logs={"output": "\n".join([*LINES, *turned]).encode("utf-8", "replace") + b"\n"},
        status="failed" if number % 2 else "succeeded",
        artifacts={name: body for name, (_, body) in files.items()},
        media_types={name: kind for name, (kind, _) in files.items()},
        adapter={"id": "a/b", "facts": facts},
        edit=edited(turned, unit) | (error(turned) if number % 2 else {}),
    )  # fmt: skip


def edited(turned: list[str], unit: str) -> dict[str, object]:
    """Parts of the manifest that a recipe does not fill."""
    text = turned[0]
    part = {"name": text, "amount_usd": 0.1, "unit": unit, "quantity": 1}
    return {
        "recipe/description": " ".join(turned[:10]),
        "config/overrides": turned[:8],
        "run/argv": turned[:8],
        "cost": cost(0.1) | {"price_source": text, "excludes": turned[:3], "parts": [part]},
        "environment": ENVIRONMENT
        | {"os": text, "platform": text, "variables": {"NAME": text, "OTHER": turned[1]}},
        "extensions": {"org.example": {text: turned[1]}},
    }


def error(turned: list[str]) -> dict[str, object]:
    """What went wrong, in hostile words."""
    return {"run/error": {"code": "exit", "message": turned[0], "hint": turned[1]}}


@pytest.fixture(scope="module")
def runs(site: Server) -> list[VariedRun]:
    """One run for each string."""
    made = [hostile(number) for number in range(len(STRINGS))]
    send_all(site, made)
    for run, text in zip(made, STRINGS, strict=True):
        site.call("PATCH", f"/api/runs/{run.run_id}", json={"notes": text + "\n" + text}, expect=200)
    return made


def test_the_table_shows_them(visit: Visit, runs: list[VariedRun]) -> None:
    """Every name is in the table as it is, in columns of metrics, settings, notes and tags, and in every group."""
    page = visit.open_runs("/p/hostile")
    columns = "&".join(f"cols={each}" for each in ("status", "tags", "notes", "error", "commit"))
    visit.open_runs(f"/p/hostile?{columns}&differs=1")
    page.get_by_role("button", name="Columns").click()
    page.get_by_label("Find a column").fill("script")
    for box in page.locator(".picker li input").all()[:8]:
        box.check()
    page.keyboard.press("Escape")
    seen: set[str] = set()
    for top in range(0, 40 * len(runs), 500):
        page.evaluate("(top) => { document.querySelector('.grid').scrollTop = top; }", top)
        page.wait_for_timeout(60)
        seen |= set(visit.names())
    plain = {run.name for run in runs if not set(run.name) & set("\u200b\u200c\u200d\ufeff")}
    assert {each for each in plain if each not in seen} == set()
    for key in ("params.<script>alert(1)</script>", "params.__proto__", "recipe"):
        visit.open(f"/p/hostile?group={quote(key, safe='')}")
        page.evaluate(
            "(key) => { const url = new URL(location); url.searchParams.set('group', key); location.assign(url); }",
            key,
        )
        page.locator(".groups tbody tr").first.wait_for()


def test_the_run_page_shows_them(visit: Visit, runs: list[VariedRun]) -> None:
    """Each tab of runs with hostile names draws what it has: curves, logs, previews, trees.

    Every run has most of the names; three are looked at here, and all of them nightly.
    """
    page = visit.page
    for run in part(runs, 3):
        visit.open(f"/runs/{run.run_id}", "#panel > *")
        for tab in ("Metrics", "Log", "Artifacts", "Config", "Environment", "Evidence"):
            page.get_by_role("tab", name=tab).click()
            expect(page.locator("#panel [aria-busy]")).to_have_count(0)
            if tab == "Metrics":
                page.locator(".scatterlayer .trace").first.wait_for()
            if tab == "Artifacts":
                page.locator(".file-line .name").first.wait_for()
                for button in page.locator(".file-line .name").all():
                    button.click()
                page.locator(".preview:not([hidden]) > :not([aria-busy])").nth(3).wait_for()
    assert not page.evaluate("() => document.querySelector('iframe, object, embed, base, form[action]')")


def test_names_in_plots_are_text(visit: Visit, site: Server) -> None:
    """The plot library reads some markup; a name with it is drawn as it is written."""
    name = "<b>bold</b> & <a href='javascript:alert(1)'>x</a> %{x} $y$"
    points = [{"name": "loss", "step": step, "value": step} for step in range(4)]
    series = b"".join(json.dumps(point).encode() + b"\n" for point in points)
    made = [VariedRun(project="plots", name=f"{name} {at}", series=series, logs={}) for at in range(2)]
    send_all(site, made)
    ids = ",".join(run.run_id for run in made)
    page = visit.open(f"/compare?runs={ids}", ".scatterlayer .trace")
    assert page.locator(".legendtext").all_text_contents() == [run.name for run in made]
    assert page.locator("#curves a, #curves [href^='javascript']").count() == 0


def test_comparing_shows_them(visit: Visit, runs: list[VariedRun]) -> None:
    """Side by side: tables, curves with their names, axes and pictures."""
    ids = ",".join(run.run_id for run in runs[:10])
    page = visit.open(f"/compare?runs={ids}", ".scatterlayer .trace")
    page.locator(".parallel path").first.wait_for(state="attached")
    page.get_by_label("Show all").check()
    assert page.locator(".legend .chip").count() == 10
    for place in range(min(6, page.get_by_label("Group by").locator("option").count())):
        page.get_by_label("Group by").select_option(index=place)


def test_the_settings_show_them(visit: Visit, runs: list[VariedRun]) -> None:
    """Names of keys, members and shares, and the audit log that tells of them."""
    for text in SHORT:
        if not set(text) & set("\u200b\u200c\u200d\ufeff"):
            visit.site.call("POST", "/api/api-keys", json={"name": text, "scopes": ["runs:read"]}, expect=201)
    for number, text in enumerate(SHORT[:20]):
        body = {"login": f"user{number}", "name": text, "password": "a calm long password"}
        visit.site.call("POST", "/api/users", json=body, expect=201)
        visit.site.call("POST", "/api/shares", json={"run": runs[number].run_id, "name": text}, expect=201)
    for section in ("keys", "members", "shares", "audit", "projects"):
        page = visit.open(f"/settings/{section}", "table.plain tbody tr")
        assert page.locator("table.plain tbody tr").count() >= 1


def test_filters_and_views_with_them(visit: Visit, runs: list[VariedRun]) -> None:
    """A filter that is hostile is refused in words or finds nothing; a view may be named anything.

    Twenty filters are tried here, and all of them nightly.
    """
    page = visit.open_runs("/p/hostile")
    visit.expected.append("422")
    for text in part(STRINGS, 20):
        box = page.get_by_label("Filter runs")
        box.fill(text)
        box.press("Escape")
        box.press("Enter")
        page.locator(".grid:not([aria-busy])").wait_for()
    page.get_by_label("Clear the filter").click()
    for text in SHORT[:6]:
        page.get_by_role("button", name="Views").click()
        page.get_by_role("button", name="Save this view").click()
        page.get_by_role("textbox", name="Name").fill(text)
        page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("button", name="Views").click()
    assert page.locator(".menu a.item").count() == 6


@pytest.mark.parametrize(
    "path",
    ["/p/{}", "/runs/{}", "/compare?runs={}", "/?filter={}", "/?group={}&sort={}", "/login?next={}", "/s/{}"],
)
def test_addresses_with_them(visit: Visit, path: str) -> None:
    """An address with anything in it gives a page, not an error of the server or of a script.

    Four texts are tried here in each place, and all of them nightly.
    """
    visit.expected += ["404", "422", "401"]
    for text in part(STRINGS, 4):
        answer = visit.page.goto(visit.site.url + path.replace("{}", quote(text, safe="")))
        assert answer is not None and answer.status < 500
        visit.page.wait_for_timeout(80)


def test_html_and_svg_are_never_shown_from_here(visit: Visit, runs: list[VariedRun]) -> None:
    """A file that could run scripts comes as an attachment of bytes, in a sandbox."""
    run = runs[0]
    for name in run.artifacts:
        if name.endswith((".html", ".svg")):
            listed = visit.site.call("GET", f"/api/runs/{run.run_id}/artifacts", expect=200).json()[
                "artifacts"
            ]
            digest = next(each["sha256"] for each in listed if each["path"].endswith(name))
            answer = visit.site.call("GET", f"/api/runs/{run.run_id}/artifacts/{digest}", expect=200)
            assert answer.headers["Content-Type"] == "application/octet-stream"
            assert answer.headers["Content-Disposition"].startswith("attachment")
            assert "sandbox" in answer.headers["Content-Security-Policy"]
